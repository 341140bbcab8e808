"""When clocks change, and what that does to jobs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hermes_cron.job import Job

_DAY, _YEAR, _MINUTE = timedelta(days=1), timedelta(days=366), timedelta(minutes=1)
_MANY = 1000
_DATED = re.compile(r" on (\d{4}-\d{2}-\d{2}) in ")


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A zone's clocks are moved at an instant by so many minutes."""

    timezone: str
    at: datetime
    minutes: int


def clock_changes(zones: Iterable[str], since: datetime, until: datetime) -> list[ClockChange]:
    """The clock changes of some zones from `since` to `until`, in order."""
    found = [change for zone in sorted(set(zones)) for change in _changes(zone, since, until)]
    return sorted(found, key=lambda change: (change.at, change.timezone))


def surprises(jobs: Iterable[Job], since: datetime, until: datetime) -> dict[str, list[str]]:
    """What clock changes until then do to each job that they touch, in a sentence each, as its schedule says."""
    found = {}
    for job in jobs:
        sentences: dict[str, None] = {}
        base = since
        while base < until:
            sentences.update(dict.fromkeys(job.schedule.warnings(base, _MANY)))
            base += _YEAR
        kept = [words for words in sentences if _dated(words) <= until.date()]
        if kept:
            found[job.id] = kept
    return found


def _dated(words: str) -> date:
    match = _DATED.search(words)
    return date.fromisoformat(match[1]) if match else date.max


def _changes(timezone: str, since: datetime, until: datetime) -> Iterator[ClockChange]:
    zone = ZoneInfo(timezone)
    days = [since + n * _DAY for n in range((until - since) // _DAY + 1)]
    for before, after in pairwise([*days, until]):
        moved = _offset(after, zone) - _offset(before, zone)
        if moved:
            low, high = before, after
            while high - low > _MINUTE:
                middle = low + (high - low) / 2
                low, high = (middle, high) if _offset(middle, zone) == _offset(before, zone) else (low, middle)
            yield ClockChange(timezone, _whole(high), round(moved / _MINUTE))


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta(0)


def _whole(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)
