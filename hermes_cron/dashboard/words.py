"""How values look on a page: instants in their job's zone, spans, and texts that can do no harm."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup

from hermes_cron.clock import instant_text
from hermes_cron.logs import harmless, one_line
from hermes_cron.output import Line

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_MOST = 64 * 1024
LETTERS: Mapping[str, str] = {
    "succeeded": "S", "failed": "F", "missed": "M", "skipped": "-", "cancelled": "C", "interrupted": "I",
    "waiting": "W", "running": "R", "claimed": "R", "started": "R", "abandoned": "A",
}  # fmt: skip
"""A state is told by a letter as well as by a colour."""


def shown(value: Any) -> Any:
    """Whatever a page prints goes through this: control and bidirectional characters stand written out."""
    if value is None:
        return "-"
    return value if isinstance(value, Markup) or not isinstance(value, str) else one_line(value)


def block(text: str) -> Markup:
    """A text of several lines, escaped, line by line."""
    lines = text[:_MOST].splitlines() or [""]
    return Markup("\n").join(Markup.escape(one_line(line)) for line in lines)


def said(lines: Sequence[Line], zone: str) -> Markup:
    """What a run said, escaped: each line with its time of day, and with its stream, or its level and logger."""
    one = Markup('<time datetime="{}" title="{}">{}</time> <span class="{}">{}</span> {}')
    return Markup("\n").join(
        one.format(
            instant_text(line.at), *_wall(line.at, zone), "note" if line.level in ("", "debug", "info") else "grave",
            f"{line.level} {harmless(line.source)}:" if line.level else line.source,
            Markup("\n    ").join(map(harmless, line.text.split("\n"))),
        )
        for line in lines
    )  # fmt: skip


def _wall(instant: datetime, zone: str) -> tuple[str, str]:
    at = instant.astimezone(ZoneInfo(zone))
    return f"{at:%Y-%m-%d %H:%M:%S} {zone}", f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"


def pretty(value: object) -> Markup:
    """A value as indented JSON, escaped; text stands as it is."""
    return block(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))


def span(seconds: float | None) -> str:
    """A span in its two largest units: `3d 4h`, `42s`, `0.25s`, `3ms`."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{max(0.0, seconds):.2f}s" if seconds >= 0.1 else f"{max(0.0, seconds) * 1000:.0f}ms"
    left, parts = round(seconds), list[str]()
    for unit, size in _UNITS:
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts[:2])


def wall(instant: datetime | None, zone: str) -> Markup | str:
    """An instant as a clock in its zone shows it; a machine finds UTC in it."""
    if instant is None:
        return "-"
    text = f"{instant.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"
    return Markup('<time datetime="{}" title="{} {}">{}</time>').format(instant_text(instant), text, zone, text)


def away(instant: datetime | None, now: datetime) -> str:
    """How far it is: `in 4m 12s`, `3h 1m ago`."""
    if instant is None:
        return ""
    seconds = round((instant - now).total_seconds())
    if abs(seconds) < 10:
        return f"in {seconds}s" if seconds >= 0 else f"{-seconds}s ago"
    return f"in {span(seconds)}" if seconds >= 0 else f"{span(-seconds)} ago"
