"""Print for people and for programs: tables, instants in words, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import click

from hermes_cron.logs import harmless, one_line
from hermes_cron.output import Line, Output


def emit_json(value: object) -> None:
    """Print it as JSON, indented on a terminal."""
    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False, default=str))


def emit_table(headers: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Print rows in aligned columns, or the sentence for none."""
    if not rows:
        click.echo(empty)
        return
    cells = [[one_line("-" if cell in (None, "") else str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]
    for row in [list(headers), *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def emit_pairs(pairs: Mapping[str, object]) -> None:
    """Print names and values, one pair a line."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        click.echo(f"{name.ljust(width)}  {one_line('-' if value in (None, '') else str(value))}")


def said_lines(output: Output, zone: str) -> Iterator[str]:
    """What a run said, as lines for a terminal: `2026-11-26 06:00:01.250  stderr   it is late`.

    What follows a logged line's first is indented, so that nothing printed can pass for the beginning of another.
    """
    for line in output.head:
        yield from _said(line, zone)
    if output.left_out:
        yield f"... {output.left_out} bytes are left out here ..."
    for line in output.tail:
        yield from _said(line, zone)


def _said(line: Line, zone: str) -> Iterator[str]:
    first, *rest = line.text.split("\n")
    at = line.at.astimezone(ZoneInfo(zone))
    who = f"{line.level:<7}  {harmless(line.source)}: " if line.level else f"{line.source:<7}  "
    yield f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}  {who}{harmless(first)}"
    yield from (f"    {harmless(text)}" for text in rest)


def instant_words(instant: datetime | None, zone: str, now: datetime) -> str:
    """`2026-11-26 06:00:00 Europe/Lisbon (in 11h 5m)`; a dash for none."""
    if instant is None:
        return "-"
    wall = instant.astimezone(ZoneInfo(zone))
    seconds = (instant - now).total_seconds()
    away = f"in {span_words(seconds)}" if seconds >= 0 else f"{span_words(-seconds)} ago"
    return f"{wall:%Y-%m-%d %H:%M:%S} {zone} ({away})"


def span_words(seconds: float) -> str:
    """A span in its two largest units: `3d 4h`, `11h 5m`, `42s`, `0.25s`."""
    if seconds < 10:
        return f"{seconds:.2f}s".replace(".00s", "s")
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts[:2])
