"""What the tests of the client share: a client over a real store, and what it asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hermes_cron.client import Client
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.job import Job
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.task import Task
from tests.unit.parts import LEASE, FakeClock, Scheduler

TASKS = {"tide": Task("tide", lambda place="north": place), "publish": Task("publish", lambda url: url)}


@dataclass
class Counter:
    """A client over a real store, with a scheduler and a bell that remember."""

    store: Store
    clock: FakeClock
    rung: list[Fire] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler()
        self.client = Client(self.store, self.scheduler, TASKS, bell=self.rung.append, timezone="Europe/Lisbon")
        self.scheduler.said.clear()

    def job(self, job_id: str = "a") -> Job:
        return self.client.get(job_id)

    def claimed(self, job_id: str = "a") -> Any:
        step = partial(claim, fire=Fire(job_id), claimer=Claimer("w", LEASE))
        return self.store.change(job_id, step).run
