"""The five fields of Celery's `crontab(...)` in the words of ours, or why these cannot say the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
"""In the order of a cron expression."""

_RANGES = {
    "minute": range(60), "hour": range(24), "day_of_month": range(1, 32), "month_of_year": range(1, 13),
    "day_of_week": range(7),
}  # fmt: skip
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_NAMES = {
    "month_of_year": {name: number for number, name in enumerate(_MONTHS, 1)},
    "day_of_week": {name: number for number, name in enumerate(_DAYS)},
}
_PART = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d{1,4}))?", re.ASCII)
_WEEKS = {frozenset(range(first, min(first + 7, 32))): nth for nth, first in enumerate(range(1, 32, 7), 1)}
"""Each seventh of a month: what falls on a weekday and into one of them is the nth of this weekday."""


def cron_text(fields: Mapping[str, object]) -> tuple[str, str]:
    """A cron expression of five fields that fires when Celery's does, in the same zone; and what is to be known of it.

    Celery's day of the month and day of the week must both match, where cron takes either; and Celery's ranges go
    round the end (`fri-mon`, `22-2`), where cron's do not.

    Raises:
        ValueError: There is none; it says why.
    """
    values = {name: _values(name, fields.get(name, "*")) for name in FIELDS}
    texts = {name: _text(name, fields.get(name, "*"), values[name]) for name in FIELDS}
    days, weekdays, note = texts["day_of_month"], texts["day_of_week"], ""
    # Cron takes either, too, only where neither begins with a star.
    if not days.startswith("*") and not weekdays.startswith("*"):
        texts["day_of_week"] = _nth_weekdays(values["day_of_month"], values["day_of_week"], f"{days} and {weekdays}")
        texts["day_of_month"] = "*"
        note = f"day of month and day of week both matched ({days} and {weekdays}): {texts['day_of_week']} says so"
    return " ".join(texts[name] for name in FIELDS), note


def _nth_weekdays(days: frozenset[int], weekdays: frozenset[int], said: str) -> str:
    weeks = [nth for week, nth in _WEEKS.items() if week <= days]
    if {day for week in _WEEKS if week <= days for day in week} != days:
        raise ValueError(
            f"Celery fires it where day of month and day of week both match ({said}), cron where either does: add it"
            " by its days of the month, and let the task look at the weekday"
        )
    return ",".join(f"{_DAYS[day]}#{nth}" for day in sorted(weekdays) for nth in weeks)


def _values(name: str, said: object) -> frozenset[int]:
    """What a field matches, as Celery reads it: a number, several, or text."""
    if isinstance(said, str):
        found = [value for part in said.split(",") for value in _part(name, part.strip())]
    elif isinstance(said, Iterable):
        found = [_number(name, str(value)) for value in said]
    else:
        found = [_number(name, str(said))]
    if not found:
        raise ValueError(f"its {name} is empty")
    return frozenset(found)


def _part(name: str, part: str) -> list[int]:
    match, whole = _PART.fullmatch(part), _RANGES[name]
    if match is None or match[3] == "0" or (match[3] and match[1] and not match[2]):
        raise ValueError(f"its {name} {part!r} cannot be read")
    if match[1] is None:
        values = list(whole)
    else:
        first, last = _number(name, match[1]), _number(name, match[2] or match[1])
        over = first > last
        values = [*range(first, whole.stop), *range(whole.start, last + 1)] if over else [*range(first, last + 1)]
    return values[:: int(match[3] or 1)]


def _number(name: str, text: str) -> int:
    named = _NAMES.get(name, {}).get(text[:3].upper())
    if named is not None and text.isalpha():
        return named
    if not (text.isascii() and text.isdigit()) or int(text) not in _RANGES[name]:
        raise ValueError(f"its {name} {text!r} cannot be read")
    return int(text)


def _text(name: str, said: object, values: frozenset[int]) -> str:
    """The field as it was written, if cron reads that as Celery does; else its values, one by one."""
    whole = _RANGES[name]
    if values == frozenset(whole):
        return "*"
    parts = [part.strip().upper() for part in said.split(",")] if isinstance(said, str) else []
    if parts and all(_is_cron(name, part) for part in parts):
        return ",".join(parts)
    return ",".join(map(str, sorted(values)))


def _is_cron(name: str, part: str) -> bool:
    match, names = _PART.fullmatch(part), _NAMES.get(name, {})
    if match is None or any(word and not word.isdigit() and word not in names for word in match.groups()):
        return False
    # From a number to itself in steps is that number for Celery, and goes on to the end for cron.
    return not match[2] or _number(name, match[1]) < _number(name, match[2])
