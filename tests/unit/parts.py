"""What the tests of the core rooms share: a clock, a boot clock, a broker and a scheduler that remember."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hermes_cron.fire import Fire
from hermes_cron.interfaces import Broker, Delivery, Reconciled, Step, Store
from hermes_cron.job import Job
from hermes_cron.policy import Policy
from hermes_cron.rules import change
from hermes_cron.schedule import Schedule

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Seconds:
    """A clock of seconds that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += seconds


class ListBroker:
    """A broker that only keeps what it was given; `fault` is what every call meets."""

    def __init__(self, said: list[str] | None = None) -> None:
        self.fires: deque[Fire] = deque()
        self.fault: Exception | None = None
        self.said = said if said is not None else []
        self.closed = False
        self.refused = 0

    def enqueue(self, fire: Fire) -> None:
        if self.fault is not None:
            raise self.fault
        self.said.append(f"ring {fire.job_id}")
        self.fires.append(fire)

    def consume(self, handle: Callable[[Delivery], None], free: Callable[[], int], stop: Callable[[], bool]) -> None:
        while not stop():
            while self.fires and free() > 0:
                handle(Taken(self.fires.popleft()))
            time.sleep(0.002)

    def depth(self) -> int | None:
        return None if self.fault is not None else len(self.fires)

    def set_aside(self) -> int | None:
        return None if self.fault is not None else self.refused

    def close(self) -> None:
        self.closed = True


@dataclass
class Taken:
    """A delivery that remembers its acknowledgement."""

    fire: Fire
    acked: int = 0

    def ack(self) -> None:
        self.acked += 1


@dataclass
class Scheduler:
    """A scheduler that remembers what it was asked to arm; `fault` is what it meets, `holds` what it answers."""

    said: list[str] = field(default_factory=list)
    fault: Exception | None = None
    holds: bool = True
    name: str = "remembering"
    confirms: bool = True
    reconciled: list[bool] = field(default_factory=list)

    def is_available(self) -> bool:
        return True

    def attach(self, store: Store) -> None:
        self.said.append("attach")

    def start(self, store: Store, broker: Broker) -> None:
        self.said.append("start")

    def stop(self) -> None:
        self.said.append("stop")

    def arm(self, job_id: str, within: float) -> bool:
        self.said.append(f"arm {job_id}")
        if self.fault is not None:
            raise self.fault
        return self.holds

    def on_jobs_changed(self, job_ids: Collection[str]) -> Collection[str]:
        self.said.append(f"changed {' '.join(job_ids)}")
        return () if self.holds else job_ids

    def reconcile(self, full: bool = False, cancel_orphans: bool = False) -> Reconciled:
        self.reconciled.append(full)
        if self.fault is not None:
            raise self.fault
        return Reconciled()

    def held(self) -> Mapping[str, datetime | None] | None:
        return None


class Between:
    """A real store with something in between: `before(step's name)` is called ahead of every change, and may raise."""

    def __init__(self, store: Store, before: Callable[[str], None]) -> None:
        self._store = store
        self._before = before

    def change(self, job_id: str, step: Step[Any]) -> Any:
        self._before(getattr(getattr(step, "func", step), "__name__", ""))
        return self._store.change(job_id, step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def add(store: Store, job_id: str = "a", schedule: str = "every 15m", task: str = "t", **policies: Any) -> Job:
    """Keep a job."""
    args = policies.pop("args", {})
    job = Job(job_id, task, Schedule.parse(schedule, now=store.now()), args, Policy(**policies))
    return store.change(job_id, lambda record, moment: change.create(record, moment, job=job))


def until(true: Callable[[], object], seconds: float = 60.0) -> bool:
    """Whether this came true in time: for what another thread does."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.003)
    return bool(true())


def ends_within(seconds: float, act: Callable[[], object], tries: int = 5) -> bool:
    """Whether this ends within so many seconds, in one of some tries: a busy machine may hold up one, hardly all."""
    for _ in range(tries):
        began = time.monotonic()
        act()
        if time.monotonic() - began < seconds:
            return True
    return False
