"""How values look on a page: instants in their job's zone, spans, and texts that can do no harm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup

from hermes_cron.clock import instant_text
from hermes_cron.logs import one_line

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
