"""`ModelNas`: a NAS as the contract describes it, without a network: what it holds, and what it has to deliver when.

It judges nothing and meets no faults by itself. Whoever drives it decides which call arrives, and which delivery.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hermes_cron.arm import Order

SHORT_RETRIES = (12.0, 148.0, 1808.0)
"""Seconds after which a NAS that gives up after 33 minutes tries again."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm that NAS holds or delivers: `due` is when it is tried next, `tries` how often it was."""

    job_id: str
    at: datetime
    number: int
    due: datetime
    tries: int = 0


@dataclass
class ModelNas:
    """One arm an id; deliveries that are tried again and given up; settlement where `settle` seconds are given.

    With `remembers` it takes a key that it has delivered for used: to provision it again does nothing.
    """

    retries: Sequence[float] = SHORT_RETRIES
    settle: float | None = None
    remembers: bool = False
    held: dict[str, Alarm] = field(default_factory=dict)
    going: dict[str, Alarm] = field(default_factory=dict)
    """In delivery: not in the list, and tried again until it is delivered, given up or replaced."""
    unsettled: dict[str, Alarm] = field(default_factory=dict)
    used: set[tuple[str, datetime]] = field(default_factory=set)
    calls: int = 0
    _number: int = 0

    def obey(self, order: Order) -> None:
        """A provision or a cancel arrives."""
        self.calls += 1
        job_id, at = order.job_id, order.at
        self.unsettled.pop(job_id, None)
        if at is not None and self.remembers and (job_id, at) in self.used:
            return
        going = self.going.get(job_id)
        if going is not None and going.at != at:
            del self.going[job_id]
        if at is None:
            self.held.pop(job_id, None)
        elif job_id not in self.held or self.held[job_id].at != at:
            self._number += 1
            self.held[job_id] = Alarm(job_id, at, self._number, at)

    def listed(self) -> Mapping[str, datetime | None]:
        """What `list` answers."""
        return {job_id: alarm.at for job_id, alarm in sorted(self.held.items())}

    def to_deliver(self, now: datetime) -> list[Alarm]:
        """What is to be tried now, the earliest first."""
        return sorted((alarm for alarm in self._all() if alarm.due <= now), key=lambda alarm: (alarm.due, alarm.job_id))

    def next_due(self) -> datetime | None:
        """When something is to be tried next."""
        return min((alarm.due for alarm in self._all()), default=None)

    def begin(self, alarm: Alarm) -> None:
        """A delivery begins: from now on the list tells of this alarm only if it is provisioned anew."""
        if self.held.get(alarm.job_id) == alarm:
            del self.held[alarm.job_id]
            self.going[alarm.job_id] = alarm

    def delivered(self, alarm: Alarm, now: datetime) -> None:
        """It was answered with a 2xx."""
        self.begin(alarm)
        self.used.add((alarm.job_id, alarm.at))
        # Tries that failed before the first delivery say nothing of how long the agent takes to answer it.
        tries = alarm.tries if self.unsettled.pop(alarm.job_id, None) == alarm else 0
        if self.going.get(alarm.job_id) == alarm:
            del self.going[alarm.job_id]
        if self.settle is not None and alarm.job_id not in self.held:
            pause = timedelta(seconds=self.settle * 2 ** min(tries, 6))
            self.unsettled[alarm.job_id] = replace(alarm, due=now + pause, tries=tries + 1)

    def failed(self, alarm: Alarm, now: datetime) -> bool:
        """It was not answered with a 2xx; False when NAS gives it up."""
        self.begin(alarm)
        for kept in (self.going, self.unsettled):
            if kept.get(alarm.job_id) != alarm:
                continue
            if alarm.tries >= len(self.retries):
                del kept[alarm.job_id]
                return False
            pause = timedelta(seconds=self.retries[alarm.tries])
            kept[alarm.job_id] = replace(alarm, due=now + pause, tries=alarm.tries + 1)
        return True

    def _all(self) -> Iterator[Alarm]:
        for kept in (self.held, self.going, self.unsettled):
            yield from kept.values()
