"""`Schedule`: the rule that gives the next instant after a given one.

Cron fields are matched against the wall clock of the schedule's zone by cronsim, which here only ever sees naive wall
times. What a clock change does to them is decided in this module. A fixed time (minute and hour both given, or every
N hours) fires once a day: first in a repeated hour, at its end in a missing one. What fires every hour or oftener
keeps its elapsed distance through both. `every N` is elapsed time from the previous fire.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim

from hermes_cron import grammar
from hermes_cron.clock import instant_text, read_instant

KINDS = ("cron", "every", "once")
ANCHORS = ("fire", "completion")
_EVERY_HOUR = ("*", "*/1", "0-23")
_SECOND = timedelta(seconds=1)
_HALF_DAY = timedelta(hours=12)
_TWO_DAYS = timedelta(days=2)
_YEAR = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job fires: a kind (`cron`, `every`, `once`), its canonical text, its zone and its anchor.

    `source` is what the person wrote; two schedules that say the same are equal however they were written.
    `anchor` is `fire`, or, for `every`, `completion`: the caller then counts from the end of the last run.
    """

    kind: str
    text: str
    timezone: str = "UTC"
    anchor: str = "fire"
    source: str = field(default="", compare=False)
    zone: ZoneInfo = field(init=False, compare=False, repr=False)
    step: timedelta = field(init=False, compare=False, repr=False, default=timedelta(0))
    at: datetime = field(init=False, compare=False, repr=False, default=datetime.min.replace(tzinfo=UTC))

    def __post_init__(self) -> None:
        """Work out what the text means.

        Raises:
            ScheduleError: A part of it is not in its canonical form.
        """
        object.__setattr__(self, "zone", grammar.load_zone(self.timezone))
        if self.anchor not in ANCHORS or (self.anchor == "completion" and self.kind != "every"):
            hint = "Use 'fire'; 'completion' goes with 'every' only."
            raise grammar.refusal(f"{self.anchor!r} cannot be the anchor of this schedule.", hint, field="anchor")
        if not (isinstance(self.text, str) and isinstance(self.source, str) and self.kind in KINDS):
            raise grammar.refusal(f"{self.text!r} of kind {self.kind!r} is not a stored schedule.")
        if self.kind == "cron":
            grammar.check_cron(self.text)
        elif self.kind == "every":
            object.__setattr__(self, "step", grammar.duration(self.text.removeprefix("every ")))
        else:
            object.__setattr__(self, "at", _stored_instant(self.text))

    @classmethod
    def parse(cls, text: str, *, timezone: str = "UTC", now: datetime, anchor: str = "fire") -> Schedule:
        """Read what a person wrote (`hermes_cron.grammar`); one-shots count from `now` and must lie after it.

        Raises:
            ScheduleError: It cannot be read, has no fire after `now`, or none within a hundred years.
        """
        zone, now = grammar.load_zone(timezone), now.astimezone(UTC)
        reading = grammar.read(text, now)
        canonical = reading.text
        if reading.at is not None:
            at = _place_once(reading.at, zone)
            if at <= now:
                hint = "Write a later instant, or 'in 30m'."
                raise grammar.refusal(f"{instant_text(at)} is in the past.", hint)
            canonical = instant_text(at)
        schedule = cls(reading.kind, canonical, timezone, anchor, source=" ".join(text.split()))
        first = schedule.next_after(now)
        if first is None:
            raise grammar.refusal(f"{schedule.source!r} never fires.", "Choose days and months that exist together.")
        if first - now > grammar.LONGEST:
            raise grammar.refusal(f"{schedule.source!r} would fire first in over a hundred years.")
        return schedule

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schedule:
        """Read `to_dict`'s form.

        Raises:
            ScheduleError: It is not that form.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise grammar.refusal("This is not a stored schedule.") from error

    def to_dict(self) -> dict[str, str]:
        """Its five texts, as plain JSON."""
        return {
            "kind": self.kind,
            "text": self.text,
            "timezone": self.timezone,
            "anchor": self.anchor,
            "source": self.source,
        }

    @property
    def fixed(self) -> bool:
        """Whether its cron fields name times of day: it fires once in a repeated hour, and after a missing one."""
        minute, hour = self.text.split(" ")[-5:-3]
        return not minute.startswith("*") and hour not in _EVERY_HOUR

    @property
    def period(self) -> timedelta | None:
        """The shortest usual time between two fires, clock changes aside; None for a one-shot."""
        if self.kind == "once":
            return None
        return self.step if self.kind == "every" else _shortest(self.text)

    def next_after(self, base: datetime) -> datetime | None:
        """The first fire strictly after `base`, in UTC; None when there is none before the year 10000.

        For `every`, `base` is the previous fire, or the instant the job was made.
        """
        return next(self._fires(base), None)

    def upcoming(self, base: datetime, count: int) -> list[datetime]:
        """The next `count` fires strictly after `base`, or all there are."""
        return list(itertools.islice(self._fires(base), count))

    def last_until(self, moment: datetime, after: datetime) -> datetime | None:
        """The last fire t with after < t <= moment; None when there is none. For `every`, `after` is a fire."""
        if self.kind == "every":
            start = after.astimezone(UTC)
            steps = (moment - start) // self.step
            return start + steps * self.step if steps > 0 else None
        last = self.next_after(after)
        if last is None or last > moment:
            return None
        # Fires are whole seconds apart, so halving the time that may hold a later one ends within 40 steps.
        ceiling = moment
        while ceiling - last > _SECOND:
            middle = last + (ceiling - last) / 2
            fire = self.next_after(middle)
            if fire is not None and fire <= moment:
                last = fire
            else:
                ceiling = middle
        final = self.next_after(last)
        return final if final is not None and final <= moment else last

    def count_between(self, after: datetime, until: datetime, limit: int = 10_000) -> int | None:
        """How many fires t have after < t <= until; None when more than `limit`. For `every`, `after` is a fire."""
        if self.kind == "every":
            count = max(0, (until - after.astimezone(UTC)) // self.step)
            return count if count <= limit else None
        count = 0
        for _ in itertools.takewhile(lambda fire: fire <= until, self._fires(after)):
            count += 1
            if count > limit:
                return None
        return count

    def describe(self) -> str:
        """In words, with the zone where it matters."""
        if self.kind == "once":
            return f"once, at {self.text}"
        if self.kind == "cron":
            return f"{CronSim(self.text, grammar.REFERENCE).explain()} ({self.timezone})"
        number, unit = grammar.every_parts(self.step)
        name = grammar.UNIT_NAMES[unit]
        words = f"every {name}" if number == 1 else f"every {number} {name}s"
        return f"{words}, counted from the end of the last run" if self.anchor == "completion" else words

    def warnings(self, base: datetime, count: int = 6) -> list[str]:
        """What may surprise its author, in plain words: at most `count` clock changes within a year after `base`."""
        if self.kind == "once" and grammar.is_bare_duration(self.source):
            return [f"{self.source!r} means once; write 'every {self.source}' to repeat."]
        if self.kind != "cron" or self.text.split(" ")[-4] in _EVERY_HOUR:
            return []
        return list(itertools.islice(self._clock_changes(base.astimezone(UTC)), count))

    def _fires(self, base: datetime) -> Iterator[datetime]:
        """Every fire strictly after `base`, in order, in UTC."""
        try:
            base = base.astimezone(UTC)
            if self.kind == "cron":
                yield from self._placed(base) if self.fixed or self.timezone == "UTC" else self._elapsed(base)
            elif self.kind == "every":
                while True:
                    base += self.step
                    yield base
            elif self.at > base:
                yield self.at
        except OverflowError:
            return

    def _placed(self, base: datetime) -> Iterator[datetime]:
        """The fires of fixed times: each matching wall time at its one instant."""
        last = base
        for wall in _walls(self.text, _wall(base, self.zone)):
            instant = place(wall, self.zone)
            if instant > last and not _no_such_day(wall, instant, self.zone):
                yield instant
                last = instant

    def _elapsed(self, base: datetime) -> Iterator[datetime]:
        """The fires of what repeats within the hour: every instant at which the wall clock matches."""
        since, wall = base, _wall(base, self.zone)
        while True:
            offset = _offset(since, self.zone)
            change = None
            for match in _walls(self.text, wall):
                instant = (match - offset).replace(tzinfo=UTC)
                change = _first_change(self.zone, since, instant)
                if change is not None:
                    break
                yield instant
                since = instant
            if change is None:
                return
            since, wall = change, _wall(change, self.zone) - _SECOND

    def _clock_changes(self, base: datetime) -> Iterator[str]:
        """A sentence for each fixed time that is missing or repeated within a year."""
        at, end = base, base + _YEAR
        while at < end:
            change = _first_change(self.zone, at, at + _TWO_DAYS)
            at = change or at + _TWO_DAYS
            if change is not None:
                yield from self._surprises(_wall(change - _SECOND, self.zone) + _SECOND, _wall(change, self.zone))

    def _surprises(self, before: datetime, after: datetime) -> Iterator[str]:
        """A sentence for each fixed time between the two wall times of one clock change."""
        end = max(before, after)
        for wall in _walls(self.text, min(before, after) - _SECOND):
            if wall >= end:
                return
            where = f"on {wall:%Y-%m-%d} in {self.timezone}"
            if before < after:
                instead = f"it fires at {_hour(after)}" if self.fixed else "it is left out"
                yield f"{_hour(wall)} does not exist {where}; {instead}."
            else:
                times = "the first time only" if self.fixed else "both times"
                yield f"{_hour(wall)} comes twice {where}; it fires {times}."


def place(wall: datetime, zone: ZoneInfo) -> datetime:
    """The one instant of a wall time: the first where it comes twice, the end of the gap where it never comes."""
    local = wall.replace(tzinfo=zone, fold=0)
    instant = local.astimezone(UTC)
    if _wall(instant, zone) == wall.replace(microsecond=0):
        return instant
    # PEP 495: in a gap, fold=1 names an instant before it and fold=0 one after it.
    return _change_between(zone, local.replace(fold=1).astimezone(UTC), instant)


def _no_such_day(wall: datetime, instant: datetime, zone: ZoneInfo) -> bool:
    """Whether the zone left out the wall time's whole day, moving over the date line: then nothing fires for it."""
    if _wall(instant, zone).date() == wall.date():
        return False
    return place(wall.replace(hour=0, minute=0, second=0, microsecond=0), zone) == instant


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    """What the clocks of a zone show at an instant, to the second."""
    return instant.astimezone(zone).replace(tzinfo=None, microsecond=0, fold=0)


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def _walls(text: str, wall: datetime) -> Iterator[datetime]:
    """Every wall time after `wall` that matches the cron fields; none when none comes within fifty years."""
    try:
        yield from CronSim(text, wall)
    except (OverflowError, ValueError):
        return


@lru_cache(maxsize=1024)
def _shortest(text: str) -> timedelta:
    """The shortest distance among the first matching wall times from a fixed one."""
    walls = list(itertools.islice(_walls(text, grammar.REFERENCE), 64))
    return min((later - earlier for earlier, later in itertools.pairwise(walls)), default=_YEAR)


def _first_change(zone: ZoneInfo, since: datetime, until: datetime) -> datetime | None:
    """The first instant in (since, until] at which the zone's offset is another than at `since`.

    Of a long time only two days at either end are searched, as offsets shift wall times by little more than a day:
    a change further in can hide no match of `_elapsed`. Then the answer may lie somewhat after the change.
    """
    offset = _offset(since, zone)
    at = since
    while at < until:
        skips = at - since >= _TWO_DAYS and until - at > _TWO_DAYS + _HALF_DAY
        probe = until - _TWO_DAYS if skips else min(at + _HALF_DAY, until)
        if _offset(probe, zone) != offset:
            return probe if skips else _change_between(zone, at, probe)
        at = probe
    return None


def _change_between(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first instant, of whole seconds, that has not the offset of `before`; `after` has another."""
    offset = _offset(before, zone)
    low, high = before.replace(microsecond=0), after.replace(microsecond=0)
    while high - low > _SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        low, high = (middle, high) if _offset(middle, zone) == offset else (low, middle)
    return high


def _place_once(at: datetime, zone: ZoneInfo) -> datetime:
    try:
        return place(at, zone) if at.tzinfo is None else at.astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise grammar.refusal("The instant lies outside the years 1 to 9999.") from error


def _stored_instant(text: str) -> datetime:
    try:
        return read_instant(text)
    except ValueError as error:
        raise grammar.refusal(f"{text[:60]!r} is not a stored instant.") from error


def _hour(wall: datetime) -> str:
    return f"{wall:%H:%M:%S}" if wall.second else f"{wall:%H:%M}"
