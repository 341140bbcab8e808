"""What a worker and its armer do, written as scripts that can be left between any two steps.

Each script mirrors one path of the real parts, over the same pure steps and in the same order: `see_through` is
`Firing.fire_due`, `arm` and `tend` are `Armer` and `BackgroundArmer`, `change` and `stop` and `start` are `Client`.
Where the real code has a failpoint a script halts at it; where it calls NAS or runs a body, it asks its driver to.
To be dropped at a halt is to crash there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from hermes_cron.arm import LEASE, Order
from hermes_cron.contract import CALL_DEADLINE_S, SENTINEL_PREFIX
from hermes_cron.errors import NasError
from hermes_cron.fire import Fire
from hermes_cron.interfaces import R, Step, Store
from hermes_cron.providers.chronos import steps
from hermes_cron.providers.chronos.ladder import Ladder
from hermes_cron.rules import change as changes
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.rules.progress import begin, complete, hand_back
from hermes_cron.run import Run

_MANY = 10_000
_FREEZE_S = LEASE.total_seconds() - CALL_DEADLINE_S


@dataclass(frozen=True, slots=True)
class At:
    """A named place, of `hermes_cron.failpoints` or between two others."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """NAS is to be called; the script is sent None, or the error that the call met."""

    order: Order


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a begun run is to run; the script is sent the run as it ended, and whether it is handed back."""

    run: Run


Script = Generator[At | Call | Body, Any, R]


@dataclass(frozen=True, slots=True)
class Steps:
    """The pure steps that the scripts take; others in their places are how a test plants a fault."""

    claim: Callable[..., Any] = claim
    begin: Callable[..., Any] = begin
    complete: Callable[..., Any] = complete
    hand_back: Callable[..., Any] = hand_back
    take: Callable[..., Any] = steps.take
    succeeded: Callable[..., Any] = steps.succeeded
    failed: Callable[..., Any] = steps.failed


@dataclass
class Scripts:
    """The scripts of one process: its store, who claims, its ladder, its boot clock, and what a sentinel sets off."""

    store: Store
    claimer: Claimer
    ladder: Ladder
    boot: Callable[[], float]
    awake: Callable[[], None]
    ring: Callable[[Fire], None]
    horizon: timedelta | None = None
    steps: Steps = Steps()

    def __post_init__(self) -> None:
        self._tokens = itertools.count(1)

    def see_through(self, fire: Fire, ack: Callable[[], None]) -> Script[float | None]:
        """Claim, arm, begin, run, complete, arm; the seconds to wait when the fire is early, else None."""
        yield At("firing.received")
        decided = self.store.change(fire.job_id, partial(self.steps.claim, fire=fire, claimer=self.claimer))
        if decided.wait is not None:
            wait: float = decided.wait
            return wait
        yield At("firing.claimed")
        ack()
        yield At("firing.acked")
        yield from self.arm(fire.job_id)
        yield At("firing.armed")
        if fire.job_id.startswith(SENTINEL_PREFIX):
            self.awake()
        elif decided.run is not None:
            yield from self.run(decided.run)
            yield from self.arm(fire.job_id)
            yield At("firing.rearmed")
        return None

    def run(self, run: Run) -> Script[None]:
        """Begin, run, complete or hand back, ring, keep what it said."""
        begun = self._written(run, partial(self.steps.begin, run=run, lease=self.claimer.lease))
        if not isinstance(begun, Run):
            if begun.ring:
                self.ring(Fire(run.job_id, kind="sweep"))
            return
        yield At("firing.begun")
        ended, back = yield Body(begun)
        yield At("firing.ran")
        if back:
            done = self._written(run, partial(self.steps.hand_back, run=begun, reason="its worker drains"))
        else:
            done = self._written(run, partial(self.steps.complete, run=ended))
        yield At("firing.completed")
        if done.written and done.ring:
            self.ring(Fire(run.job_id, kind="sweep"))
        if done.written and ended.output is not None and ended.output.lines:
            self.store.keep_output(ended, ended.output)

    def arm(self, job_id: str) -> Script[bool]:
        """Make true at NAS what the store wants of one id; False when it is still wanted."""
        while True:
            token = f"{self.claimer.worker}:{next(self._tokens)}"
            began = self.boot()
            taken = self.store.change(job_id, partial(self.steps.take, token=token, horizon=self.horizon))
            if taken.order is None:
                return not taken.wanted
            yield At("arm.leased")
            error = NasError("This process was frozen.")
            if self.boot() - began <= _FREEZE_S:
                error = yield Call(taken.order)
            yield At("arm.called")
            if error is not None:
                step = partial(self.steps.failed, order=taken.order, sent=error.sent, refused=None)
                self.store.change(job_id, step)
                return False
            again = self.store.change(job_id, partial(self.steps.succeeded, order=taken.order))
            yield At("arm.confirmed")
            if not again:
                return True

    def tend(self) -> Script[None]:
        """One round of the background armer: the ladder, then whatever is wanted."""
        self.ladder.push(self.store, self.horizon)
        yield At("ladder.pushed")
        for job_id in self.store.wanted(_MANY):
            yield from self.arm(job_id)

    def change(self, job_id: str, step: Step[Any]) -> Script[None]:
        """A person changes a job: store, ladder, arms, in this order."""
        self.store.change(job_id, step)
        yield At("change.stored")
        yield from self._changed([job_id])

    def stop(self) -> Script[None]:
        """A person stops everything."""
        self.store.set_stopped(True)
        yield At("change.stored")
        yield from self._changed([])

    def start(self) -> Script[None]:
        """A person ends the stop."""
        for record in self.store.arms():
            self.store.change(record.job_id, changes.after_stop)
            yield At("start.settled")
        self.store.set_stopped(False)
        yield At("change.stored")
        yield from self.tend()

    def _changed(self, job_ids: Collection[str]) -> Script[None]:
        ids = [*job_ids, *self.ladder.push(self.store, self.horizon)]
        yield At("ladder.pushed")
        for job_id in dict.fromkeys(ids):
            yield from self.arm(job_id)

    def _written(self, run: Run, step: Step[R]) -> R:
        return self.store.change(run.job_id, step)
