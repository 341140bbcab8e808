"""`Agent`: one process that sleeps at zero, in virtual time; every fire driven step by step, and nothing waited for.

It is one process, as `serve --exit-when-idle` is: NAS's delivery wakes it, and it decides by the real `IdleExit` when
it may sleep. Its queue is its own, so what crashes takes its messages along.
"""

from __future__ import annotations

import heapq
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hermes_cron.arm import Order
from hermes_cron.clock import EPOCH, monotonic
from hermes_cron.errors import NasError
from hermes_cron.fire import Fire
from hermes_cron.idle import Gate, IdleExit
from hermes_cron.providers.chronos.armer import Armer
from hermes_cron.providers.chronos.background import POLL_S
from hermes_cron.providers.chronos.backoff import Backoff
from hermes_cron.providers.chronos.ladder import Ladder
from hermes_cron.providers.chronos.reconcile import Reconciler
from hermes_cron.rules.claim import Claimer
from hermes_cron.rules.progress import renew
from hermes_cron.run import Run, RunState
from hermes_cron.virtual.client import ModelClient, NoQueue
from hermes_cron.virtual.memory import MemoryStore
from hermes_cron.virtual.nas import Alarm, ModelNas
from hermes_cron.virtual.scripts import At, Body, Call, Scripts
from hermes_cron.worker import SWEEP_S

LEASE = timedelta(seconds=30)
TEND = timedelta(seconds=1)
"""After what time the background armer moves the ladder."""

_SWEPT = timedelta(milliseconds=100)
"""After what time a process that has just started sweeps: what woke it is on its way in meanwhile."""

_SLOTS = 10_000
_TRY_S = 3600.0
"""What a reconcile has in the real time of whoever simulates: no busy machine may change what comes of it."""


class Strand:
    """One script under way. `doomed` is after how many halts its process crashes; None if it does not."""

    def __init__(self, fire: Fire, script: Generator[Any, Any, Any], doomed: int | None = None) -> None:
        self.fire = fire
        self.script = script
        self.doomed = doomed
        self.body: Run | None = None


class Agent(ABC):
    """The agent at the virtual instant `now`; a subclass says what bodies do, and how NAS and its deliveries fare.

    `idle_s` is the wait before sleep, `rungs` the ladder, `worker` who claims.
    """

    def __init__(self, since: datetime, nas: ModelNas, *, idle_s: float, rungs: tuple[float, ...], worker: str) -> None:
        self.now = since
        self.nas = nas
        self.store = MemoryStore(lambda: self.now)
        self.client = self.make_client()
        self.ladder = Ladder(rungs)
        self.scripts = Scripts(
            self.store, Claimer(worker, LEASE), self.ladder, self._boot_seconds, self._woken, self.ring
        )
        self.up_at: datetime | None = None
        self.quiet_since = self.now
        self.busy = 0
        self.tend_at: datetime | None = None
        self._idle = timedelta(seconds=idle_s)
        self._life = 0
        self._events: list[tuple[datetime, int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._sweep_at: datetime | None = None
        self._booting = False

    # What a subclass says.

    @abstractmethod
    def body(self, run: Run) -> tuple[Run, float]:
        """How the body of a begun run ends should nobody stop it, and after how many seconds."""

    @abstractmethod
    def outage(self) -> datetime | None:
        """The end of the outage in which NAS takes no calls; None while it takes them."""

    @abstractmethod
    def deliver(self, alarm: Alarm) -> None:
        """NAS tries to deliver an alarm: `rouse` the agent, have it `accept` the fire, tell NAS what came of it."""

    def make_client(self) -> ModelClient:
        """The agent's client of NAS."""
        return ModelClient(self.nas, self.nas_up)

    @abstractmethod
    def went_down(self, crashed: bool) -> None:
        """The process is about to end: it sleeps, or it has crashed."""

    def idle(self) -> bool:
        """Whether the process may sleep: what the real decision says."""
        gate = Gate(_acknowledged, _acknowledged)
        seconds = self._idle.total_seconds()
        return IdleExit(self.store, NoQueue(), lambda: self.busy, gate, _acknowledged, seconds).idle()

    # Time.

    def next(self) -> datetime | None:
        """The next instant at which something happens; None when nothing will."""
        while self._events and self._events[0][2] != self._life:
            heapq.heappop(self._events)
        found = [at for at in (self._events[0][0] if self._events else None, self.nas.next_due()) if at is not None]
        return min(found, default=None)

    def go(self, at: datetime) -> None:
        """Go to this instant, and have happen what happens then."""
        self.now = max(self.now, at)
        for alarm in self.nas.to_deliver(self.now):
            self.deliver(alarm)
        while self._events and self._events[0][0] <= self.now:
            _, _, life, action = heapq.heappop(self._events)
            if life == self._life:
                action()

    def wake(self) -> None:
        """The agent is started: up at once if nothing woke it before."""
        self.up_at = self.now
        self._at(self.now, self._boot)

    def rouse(self, cold_s: float) -> bool:
        """Somebody calls the agent, which takes so long to start if it sleeps; whether it slept."""
        if self.up_at is not None:
            return False
        self.up_at = self.now + timedelta(seconds=cold_s)
        self._booting = True
        self._at(self.up_at + _SWEPT, self._boot)
        return True

    def accept(self, fire: Fire, doomed: int | None = None) -> None:
        """A fire is on the queue of the agent, which is up or starts."""
        self.busy += 1
        self._at(max(self.now, self.up_at or self.now), partial(self._see_through, fire, doomed))

    def at_rest(self) -> bool:
        """Whether nothing is under way: what comes next are deliveries of alarms that NAS was asked for."""
        nothing = not self.busy and not self._booting and self.nas_up() and not self.store.wanted(1)
        return nothing and not self.nas.going and not self.nas.unsettled

    def move_on(self, now: datetime, up_at: datetime | None, quiet_since: datetime, tend_at: datetime | None) -> None:
        """Time has passed in which all went well; when the agent was woken, last did something, and is to tend."""
        self._life += 1
        self.tend_at = self._sweep_at = None
        self.now, self.up_at, self.quiet_since = now, up_at, quiet_since
        if up_at is None:
            return
        self._plan_sweep()
        self._at(quiet_since + self._idle, self._sleep_if_idle)
        if tend_at is not None:
            self.tend_at = tend_at
            self._at(tend_at, self._tend)

    def nas_up(self) -> bool:
        """Whether NAS takes calls."""
        return self.outage() is None

    def touch(self) -> None:
        """Something was done: the agent sleeps at the earliest so long after now."""
        self.quiet_since = max(self.quiet_since, self.now)
        self._plan_sweep()
        self._at(self.quiet_since + self._idle, self._sleep_if_idle)

    def tend_soon(self, after: timedelta = TEND) -> None:
        """The background armer is nudged."""
        self.touch()
        if self.tend_at is None:
            self.tend_at = self.now + after
            self._at(self.tend_at, self._tend)

    def ring(self, fire: Fire) -> None:
        """The job of this fire is to be looked at now."""
        self.busy += 1
        self._at(self.now, partial(self._see_through, fire))

    # The process.

    def _boot(self) -> None:
        self._booting = False
        self._woken()
        self.touch()

    def _woken(self) -> None:
        """A start, or a sentinel's fire: sweep, and reconcile fully with the real parts."""
        self._sweep()
        if not self.nas_up():
            return self.tend_soon()
        self.ladder.push(self.store, None)
        armer = Armer(self.store, self.client, Backoff())
        Reconciler(self.store, self.client, armer, monotonic() + _TRY_S).run_full(cancel_orphans=False)
        return None

    def _see_through(self, fire: Fire, doomed: int | None = None) -> None:
        self.busy -= 1
        self._spawn(fire, doomed)

    def _spawn(self, fire: Fire, doomed: int | None = None) -> None:
        self.busy += 1
        self._go_on(Strand(fire, self.scripts.see_through(fire, _acknowledged), doomed), None)

    def _go_on(self, strand: Strand, given: Any) -> None:
        """Drive a script up to its body, its end, or its crash."""
        while True:
            try:
                found = strand.script.send(given)
            except StopIteration as end:
                return self._over(strand, end.value)
            given = None
            if isinstance(found, Call):
                given = self._call(found.order)
            elif isinstance(found, Body):
                return self._begin_body(strand, found.run)
            elif self._crashes_at(strand, found):
                return self._down(crashed=True)

    def _over(self, strand: Strand, wait: float | None) -> None:
        if wait is None:
            self.busy -= 1
            return self.tend_soon()
        # Early: it is held, in nobody's way, until its instant.
        return self._at(self.now + timedelta(seconds=wait), partial(self._see_through, strand.fire))

    def _crashes_at(self, strand: Strand, place: At) -> bool:
        if place.name == "firing.armed":
            self.tend_soon()
        if strand.doomed is None:
            return False
        strand.doomed -= 1
        return strand.doomed < 0

    def _call(self, order: Order) -> NasError | None:
        try:
            self.client.do(order)
        except NasError as error:
            return error
        return None

    def _begin_body(self, strand: Strand, run: Run) -> None:
        strand.body = run
        ended, seconds = self.body(run)
        self._at(self.now + timedelta(seconds=seconds), partial(self._end_body, strand, run, ended))
        self._at(self.now + LEASE / 3, partial(self._renew, strand, run, ended))

    def _end_body(self, strand: Strand, run: Run, ended: Run) -> None:
        if strand.body is run:
            strand.body = None
            self._go_on(strand, (ended, False))

    def _renew(self, strand: Strand, run: Run, ended: Run) -> None:
        if strand.body is not run:
            return
        held = self.store.change(run.job_id, partial(renew, run=run, lease=LEASE))
        if isinstance(held, Run) and held.cancel:
            self._end_body(strand, run, replace(ended, state=RunState.CANCELLED, error=held.cancel))
        else:
            self._at(self.now + LEASE / 3, partial(self._renew, strand, run, ended))

    def _down(self, *, crashed: bool) -> None:
        self.went_down(crashed)
        self.up_at = None
        self._life += 1
        self.busy, self.tend_at, self._sweep_at, self._booting = 0, None, None, False

    def _tend(self) -> None:
        self.tend_at = None
        if self.nas_up():
            self._drain(self.scripts.tend())
        else:
            self.ladder.push(self.store, None)
        self.touch()
        if self.store.wanted(1):
            again = max(self.outage() or self.now, self.now + timedelta(seconds=POLL_S))
            self.tend_soon(again - self.now)

    def _drain(self, script: Generator[Any, Any, Any]) -> None:
        given: Any = None
        while True:
            try:
                found = script.send(given)
            except StopIteration:
                return
            given = self._call(found.order) if isinstance(found, Call) else None

    def _sweep(self) -> None:
        self._sweep_at = None
        for job_id in self.store.overdue(_SLOTS):
            self._spawn(Fire(job_id, kind="sweep"))
        self._plan_sweep()

    def _plan_sweep(self) -> None:
        """The next of the sweeps, which come every 15 s, that finds something."""
        reason = self.now if self.store.overdue(1) else self.store.next_reason()
        if reason is None or self.up_at is None:
            return
        first = self.up_at + _SWEPT
        turns = math.ceil((reason - first).total_seconds() / SWEEP_S)
        at = first + timedelta(seconds=SWEEP_S * max(0, turns))
        at += timedelta(seconds=SWEEP_S if at <= self.now else 0)
        if self._sweep_at is None or at < self._sweep_at:
            self._sweep_at = at
            self._at(at, partial(self._sweep_if, at))

    def _sweep_if(self, at: datetime) -> None:
        if self._sweep_at == at:
            self._sweep()

    def _sleep_if_idle(self) -> None:
        if self.now - self.quiet_since >= self._idle and self.idle():
            self._down(crashed=False)

    def _at(self, at: datetime, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), self._life, action))

    def _boot_seconds(self) -> float:
        return (self.now - EPOCH).total_seconds()


def _acknowledged() -> None:
    """There is no message to acknowledge, and no door to shut."""
