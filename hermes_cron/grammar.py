"""The words a schedule can be written in: cron, `every 15m`, `in 30m`, an instant, `weekdays at 9am`.

`read` turns them into a `Reading`. It knows no zone: an instant written without an offset stays a wall time. Every
refusal is a `ScheduleError` with the field, the reason and a suggestion; nothing else gets out.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from hermes_cron.errors import ScheduleError

MAX_TEXT = 256
LONGEST = timedelta(days=36_525)
REFERENCE = datetime(2024, 1, 1)  # noqa: DTZ001 - a wall time: cronsim is never shown a zone.
"""A Monday at the start of a leap year: where a cron expression is looked at without a clock."""

EXAMPLES = "Write for example '0 9 * * 1-5', 'every 15m', 'in 30m', 'daily at 09:00' or '2030-01-31T09:00:00Z'."
ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
UNIT_NAMES = {"w": "week", "d": "day", "h": "hour", "m": "minute", "s": "second"}
_UNIT_WORDS = {
    "s": "s sec secs second seconds",
    "m": "m min mins minute minutes",
    "h": "h hr hrs hour hours",
    "d": "d day days",
    "w": "w wk wks week weeks",
}
_UNITS = {word: unit for unit, words in _UNIT_WORDS.items() for word in words.split()}
_CALENDAR_UNITS = {"month": "@monthly", "months": "@monthly", "mo": "@monthly", "year": "@yearly", "years": "@yearly"}
_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY_NAMES = {form: i for i, name in enumerate(_WEEK) for form in (name[:3], name, name + "s")}
_DAY_NAMES |= {"tues": 1, "thur": 3, "thurs": 3}
_DAY_GROUPS = {"daily": "*", "day": "*", "days": "*", "weekday": "MON-FRI", "weekdays": "MON-FRI"}
_DAY_GROUPS |= {"weekend": "SAT,SUN", "weekends": "SAT,SUN"}
_FIELDS = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L or LW",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7, SUN-SAT, 5L or MON#1",
}
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,3}")
_NO_ZONES = ("localtime", "posixrules", "posix/", "right/")
_LATE_DAYS = re.compile(r"3[01](?:[,-]3[01])*")
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[t ].*)?")
_TOKEN = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]+)[, ]?")
_TIME = re.compile(r"(\d{1,2})(?::(\d\d))?(?::(\d\d))? ?(am|pm)?")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says: the canonical `text` of "cron" and "every"; `at`, the instant or wall time of "once"."""

    kind: str
    text: str = ""
    at: datetime | None = None


def refusal(reason: str, hint: str = EXAMPLES, *, field: str = "schedule") -> ScheduleError:
    """The error for what cannot be read, or can never fire."""
    return ScheduleError(reason, hint=hint, field=field)


def read(text: object, now: datetime) -> Reading:
    """Read a schedule; durations of one-shots count from `now`.

    Raises:
        ScheduleError: It is none of the forms above, or says something impossible.
    """
    words = _clean(text).lower()
    if words.startswith("@"):
        return Reading("cron", _alias(words))
    if _ISO.fullmatch(words.removeprefix("at ")):
        return Reading("once", at=_instant(words.removeprefix("at ").replace(" at ", "t")))
    days, at, time = words.removeprefix("every ").partition(" at ")
    if at:
        return Reading("cron", _clock(days.strip(), time.strip()))
    if words == "every" or words.startswith("every "):
        return Reading("every", every_text(_every(words[6:])))
    if words.startswith(("in ", "+", "-")) or _is_duration(words):
        return Reading("once", at=_later(now, duration(words.removeprefix("in ").removeprefix("+").strip())))
    if len(words.split()) in (5, 6) or "*" in words:
        check_cron(words.upper())
        return Reading("cron", words.upper())
    raise refusal(f"{words[:60]!r} is not a schedule.", _meant(words))


def is_bare_duration(source: str) -> bool:
    """Whether a text is a duration and nothing else, like `30m`: once, which some would read as repeating."""
    return _is_duration(source.lower())


def duration(words: str) -> timedelta:
    """Read `90s`, `15 minutes`, `1h30m`, `1 hour and 30 minutes`.

    Raises:
        ScheduleError: No duration, not whole, zero, negative, or over a hundred years.
    """
    if words.startswith("-"):
        raise refusal(f"{words[:60]!r} is negative.", "Write a duration above zero, like 15m.")
    tokens = _tokens(words)
    if not tokens:
        hint = (
            f"Write {words}m for minutes, {words}s for seconds." if words.isdigit() else "Write it like 90s or 1h30m."
        )
        raise refusal(f"{words[:60]!r} is not a duration.", hint)
    total = 0
    seen = set()
    for number, unit in tokens:
        if "." in number:
            raise refusal(f"{number[:20]}{unit} is not a whole number.", "Use a smaller unit: 90m, not 1.5h.")
        known = _UNITS.get(unit) or _unknown_unit(unit)
        if known in seen:
            raise refusal(f"{words[:60]!r} names the same unit twice.", "Write each unit once, like 1h30m.")
        seen.add(known)
        total += int(number) * SECONDS[known]
    if total == 0:
        raise refusal(f"{words[:60]!r} is zero.", "Write a duration of one second or more.")
    if total > LONGEST.total_seconds():
        raise refusal(f"{words[:60]!r} is more than a hundred years.", "Write a shorter duration.")
    return timedelta(seconds=total)


def every_text(step: timedelta) -> str:
    """The canonical text of `every`: the largest unit that leaves a whole number."""
    number, unit = every_parts(step)
    return f"every {number}{unit}"


def every_parts(step: timedelta) -> tuple[int, str]:
    """A step as a number and the largest unit (`w d h m s`) that leaves it whole."""
    seconds = int(step.total_seconds())
    unit = next(unit for unit, size in SECONDS.items() if seconds % size == 0)
    return seconds // SECONDS[unit], unit


def check_cron(text: str) -> None:
    """Refuse a cron expression that cannot be read or names a day that its months do not have.

    Raises:
        ScheduleError: `text` (upper case, fields apart by one space) is such a one.
    """
    parts = text.split(" ")
    if len(parts) not in (5, 6):
        count = f"{len(parts)} field" + "s" * (len(parts) != 1)
        raise refusal(f"A cron expression has 5 fields, or 6 with seconds first; {text[:60]!r} has {count}.")
    try:
        CronSim(text, REFERENCE)
    except CronSimError as error:
        raise _bad_field(str(error).removeprefix("Bad "), parts) from error
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
        raise refusal(f"{text[:60]!r} is not a cron expression.") from error


def load_zone(key: str) -> ZoneInfo:
    """The zone of the tz database with this name; no other file is ever opened.

    Raises:
        ScheduleError: There is none (field `timezone`).
    """
    if isinstance(key, str) and _ZONE.fullmatch(key) and not key.lower().startswith(_NO_ZONES):
        try:
            return ZoneInfo(key)
        except (LookupError, OSError, ValueError):
            pass
    raise refusal(f"{ascii(key)[:60]} is not a time zone.", _zone_hint(key), field="timezone")


def _clean(text: object) -> str:
    """The text with single spaces, once it is known to be short, plain and not empty."""
    if not isinstance(text, str):
        raise refusal(f"A schedule is text, not {type(text).__name__}.")
    if len(text) > MAX_TEXT:
        raise refusal(f"A schedule has at most {MAX_TEXT} characters; this has {len(text)}.")
    words = text.replace("\t", " ")
    if not words.isascii() or not words.isprintable():
        odd = next(char for char in words if not (char.isascii() and char.isprintable()))
        raise refusal(f"A schedule is written in plain ASCII; {odd!a} is not.")
    words = " ".join(words.split())
    if not words:
        raise refusal("The schedule is empty.")
    return words


def _alias(words: str) -> str:
    if words in ALIASES:
        return ALIASES[words]
    if words.startswith("@every "):
        raise refusal(f"{words[:60]!r} is not known.", f"Write {words[1:60]!r}.")
    raise refusal(f"{words[:60]!r} is not known.", f"Known are {', '.join(ALIASES)}.")


def _every(words: str) -> timedelta:
    """What stands after `every`: a duration, or a unit alone."""
    words = words.strip()
    if words in _CALENDAR_UNITS:
        _unknown_unit(words)
    if words in _DAY_NAMES or words in ("weekday", "weekend", "weekdays", "weekends"):
        raise refusal(f"'every {words}' has no time.", f"Write 'every {words} at 09:00'.")
    return duration(f"1{words}" if words in _UNITS else words)


def _tokens(words: str) -> list[tuple[str, str]]:
    """The number-unit pairs that make up the whole text, or none."""
    rest = words.replace(", and ", " ").replace(" and ", " ").replace(", ", " ")
    tokens, at = [], 0
    while at < len(rest):
        match = _TOKEN.match(rest, at)
        if match is None:
            return []
        tokens.append((match[1], match[2]))
        at = match.end()
    return tokens


def _is_duration(words: str) -> bool:
    tokens = _tokens(words)
    return bool(tokens) and (len(tokens) == 1 or all(unit in _UNITS for _, unit in tokens))


def _unknown_unit(unit: str) -> str:
    """Refuse a unit; the return type only lets it stand in an expression."""
    if unit in _CALENDAR_UNITS:
        raise refusal(
            f"A {unit} is no fixed number of seconds.", f"Write {_CALENDAR_UNITS[unit]}, or a cron expression."
        )
    close = difflib.get_close_matches(unit, _UNITS, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else "Units are s, m, h, d and w."
    raise refusal(f"{unit[:20]!r} is not a unit of time.", hint)


def _later(now: datetime, step: timedelta) -> datetime:
    try:
        return now + step
    except OverflowError as error:
        raise refusal("The instant lies after the year 9999.", "Write a shorter duration.") from error


def _instant(words: str) -> datetime:
    try:
        return datetime.fromisoformat(words.upper())
    except ValueError as error:
        hint = "Write an instant like 2030-01-31T09:00:00Z, or without Z for the job's own zone."
        raise refusal(f"{words.upper()[:60]!r} is not a possible instant: {error}.", hint) from error


def _clock(days: str, time: str) -> str:
    """Cron for `mon,thu` at `14:30`; seconds first when they are not zero."""
    hour, minute, second = _time(time)
    return f"{f'{second} ' if second else ''}{minute} {hour} * * {_days(days)}"


def _time(words: str) -> tuple[int, int, int]:
    """Hour, minute and second of `09:00`, `9am`, `9:30pm`, `noon`, `midnight`."""
    if words in ("noon", "midnight"):
        return (12 if words == "noon" else 0), 0, 0
    match = _TIME.fullmatch(words)
    if match is None or not (match[2] or match[4]):
        raise refusal(f"{words[:60]!r} is not a time of day.", "Write it like 09:00, 9am, 9:30pm or noon.")
    hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    if match[4]:
        if not 1 <= hour <= 12:
            raise refusal(f"{words!r} is not a time of day.", "With am or pm the hour is 1 to 12.")
        hour = hour % 12 + (12 if match[4] == "pm" else 0)
    if hour > 23 or minute > 59 or second > 59:
        raise refusal(f"{words!r} is not a time of day.", "Times go from 00:00 to 23:59.")
    return hour, minute, second


def _days(words: str) -> str:
    """The day-of-week field for `daily`, `weekdays`, `mon,thu`, `fri-mon`, `monday and thursday`."""
    if words in _DAY_GROUPS:
        return _DAY_GROUPS[words]
    chosen: set[int] = set()
    for part in words.replace(" and ", ",").replace(" - ", "-").replace(", ", ",").replace(" ", ",").split(","):
        first, dash, last = part.partition("-")
        start, end = _day(first), _day(last if dash else first)
        chosen.update((start + i) % 7 for i in range((end - start) % 7 + 1))
    return "*" if len(chosen) == 7 else ",".join(_WEEK[day][:3].upper() for day in sorted(chosen))


def _day(name: str) -> int:
    if name in _DAY_NAMES:
        return _DAY_NAMES[name]
    close = difflib.get_close_matches(name, [*_DAY_NAMES, *_DAY_GROUPS], n=1)
    hint = f"Did you mean {close[0]!r}?" if close else "Write 'daily', 'weekdays', 'weekends' or days like 'mon,thu'."
    raise refusal(f"{name[:30]!r} is not a day.", hint)


def _bad_field(name: str, parts: list[str]) -> ScheduleError:
    """The error for one cron field, with what it may hold."""
    names = list(_FIELDS)[6 - len(parts) :]
    if name not in names:
        return refusal(f"{' '.join(parts)[:60]!r} is not a cron expression.")
    value = parts[names.index(name)]
    if "?" in value:
        return refusal(f"The {name} field {value!r} cannot be read.", "Write * instead of ?.")
    if name == "day-of-month" and _LATE_DAYS.fullmatch(value):
        month = parts[names.index("month")]
        return refusal(f"Day {value[:30]} never happens in month {month[:30]}.", "Write L for the last day of a month.")
    return refusal(
        f"The {name} field {value[:30]!r} cannot be read.", f"It holds {_FIELDS[name]}, *, lists, ranges, steps."
    )


def _meant(words: str) -> str:
    """A suggestion for text that is no schedule."""
    if words in ("daily", "weekdays", "weekends") or words in _DAY_NAMES:
        return f"Write '{words} at 09:00'."
    if f"@{words}" in ALIASES:
        return f"Write '@{words}'."
    if words.isdigit():
        return f"Write 'every {words[:9]}m' to repeat, 'in {words[:9]}m' for once."
    return EXAMPLES


def _zone_hint(key: object) -> str:
    """The zone that was probably meant."""
    fallback = "Write a name of the tz database, like Europe/Lisbon or UTC."
    if not isinstance(key, str) or not 0 < len(key) <= 64:
        return fallback
    names = {name.lower(): name for name in sorted(available_timezones()) if name not in _NO_ZONES}
    low = key.lower().replace(" ", "_")
    close = [low] if low in names else [name for name in names if name.endswith("/" + low)]
    close = close or difflib.get_close_matches(low, names, n=1)
    return f"Did you mean {names[close[0]]}?" if close else fallback
