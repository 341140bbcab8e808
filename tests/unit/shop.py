"""What the tests of the worker share: a shop that makes workers over real parts, and a handler that waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hermes_cron.execution import execute
from hermes_cron.fire import Fire
from hermes_cron.firing import Firing
from hermes_cron.interfaces import Broker, Store
from hermes_cron.leases import Leases
from hermes_cron.rules.claim import Claimer
from hermes_cron.task import Task
from hermes_cron.worker import Worker
from tests.unit.parts import LEASE, FakeClock, ListBroker, Scheduler

Ack = Callable[[], None]


@dataclass
class Shop:
    """Makes workers over real parts, and stops them when the test is over."""

    store: Store
    clock: FakeClock
    broker: ListBroker = field(default_factory=ListBroker)
    scheduler: Scheduler = field(default_factory=Scheduler)
    open: list[Worker] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def worker(self, fire_due: Callable[[Fire, Ack], float | None], broker: Broker | None = None,
               **options: Any) -> Worker:  # fmt: skip
        options.setdefault("drain", timedelta(seconds=0.2))
        options.setdefault("ask_all", self.asked.append)
        new = Worker(self.store, broker or self.broker, self.scheduler, fire_due, **options)
        self.open.append(new)
        return new

    def whole(self, tasks: dict[str, Callable[..., object]], broker: Broker | None = None,
              check: Callable[[Fire], None] = lambda fire: None, **options: Any) -> Worker:  # fmt: skip
        """A worker with everything that belongs to it."""
        leases = Leases(self.store, LEASE)
        known = {name: Task(name, call, bind=True) for name, call in tasks.items()}
        firing = Firing(
            self.store, broker or self.broker, self.scheduler, Claimer("w", LEASE), leases.keep,
            lambda run, sign: execute(run, known, sign, self.clock), lambda: worker.awake(),  # noqa: PLW0108 - the worker is made below.
        )  # fmt: skip

        def fire_due(fire: Fire, ack: Ack) -> float | None:
            check(fire)
            return firing.fire_due(fire, ack)

        worker = self.worker(fire_due, broker, ask_all=leases.ask_all, **options)
        return worker


class Hold:
    """A handler of fires that waits to be let go; it counts how many are inside, and how many ever were at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.seen: list[str] = []
        self.inside = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, fire: Fire, ack: Ack) -> None:
        with self.lock:
            self.seen.append(fire.job_id)
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.go.wait(60)
        with self.lock:
            self.inside -= 1
        ack()
