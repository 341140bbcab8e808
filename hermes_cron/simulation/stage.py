"""`Stage`: one agent that sleeps at zero, its store, NAS, and what happens when; every fire driven step by step.

The agent is one process, as `serve --exit-when-idle` is: NAS's delivery wakes it, and it decides by the real
`IdleExit` when it may sleep. Its queue is its own, so what crashes takes its messages along.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hermes_cron.arm import Order
from hermes_cron.clock import EPOCH, monotonic
from hermes_cron.contract import SENTINEL_PREFIX
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
from hermes_cron.simulation.client import CountingClient, NoQueue
from hermes_cron.simulation.memory import MemoryStore
from hermes_cron.simulation.nas import Alarm, ModelNas
from hermes_cron.simulation.plan import CRASHES, LOSSES, Chance, Plan, outages
from hermes_cron.simulation.scripts import At, Body, Call, Scripts
from hermes_cron.simulation.tally import Tally
from hermes_cron.worker import SWEEP_S

LEASE = timedelta(seconds=30)
TEND = timedelta(seconds=1)
"""After what time the background armer moves the ladder."""

_SWEPT = timedelta(milliseconds=100)
"""After what time a process that has just started sweeps: what woke it is on its way in meanwhile."""

_SLOTS = 10_000
_HALTS = 12
_TRY_S = 60.0


class Strand:
    """One script under way. `doomed` is after how many halts its process crashes; None if it does not."""

    def __init__(self, script: Generator[Any, Any, Any], doomed: int | None = None) -> None:
        self.script = script
        self.doomed = doomed
        self.body: Run | None = None


class Stage:
    """The agent and the world around it, at the virtual instant `now`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.now = plan.since
        self.tally = Tally()
        self.store = MemoryStore(lambda: self.now)
        self.nas = ModelNas(plan.retries)
        self.client = CountingClient(self.nas, self.nas_up, self.tally)
        self.ladder = Ladder(tuple(plan.rungs))
        self.crashes = Chance("crashes", plan, CRASHES)
        self.losses = Chance("lost-messages", plan, LOSSES)
        self.scripts = Scripts(
            self.store, Claimer("simulated", LEASE), self.ladder, self._boot_seconds, self._woken, self._ring
        )
        self.up_at: datetime | None = None
        self.quiet_since = self.now
        self.busy = 0
        self._outages = outages(plan)
        self._life = 0
        self._events: list[tuple[datetime, int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.tend_at: datetime | None = None
        self._sweep_at: datetime | None = None
        self._booting = False

    # The world.

    def wake(self) -> None:
        """The agent is started: up at once if nothing woke it before."""
        self.up_at = self.now
        self._at(self.now, self._boot)

    def outage(self) -> datetime | None:
        """The end of the outage that NAS is in; None while it takes calls."""
        while self._outages and self._outages[0].end <= self.now:
            self._outages.pop(0)
            self.tally.outages += 1
        return self._outages[0].end if self._outages and self._outages[0].start <= self.now else None

    def next_outage(self) -> datetime:
        """The next instant at which NAS fails, or the end of it all."""
        self.outage()
        return self._outages[0].start if self._outages else self.plan.until

    def step(self) -> bool:
        """Go to the next instant at which something happens, and have it happen; False when nothing will."""
        at = self._next()
        if at is None or at >= self.plan.until:
            if at is None and self.store.next_wake() is not None:
                self.tally.dead_since = self.now
            return False
        self.now = max(self.now, at)
        for alarm in self.nas.to_deliver(self.now):
            self._deliver(alarm)
        while self._events and self._events[0][0] <= self.now:
            _, _, life, action = heapq.heappop(self._events)
            if life == self._life:
                action()
        self.tally.take(*self.store.hand_over())
        return True

    def _next(self) -> datetime | None:
        while self._events and self._events[0][2] != self._life:
            heapq.heappop(self._events)
        found = [at for at in (self._events[0][0] if self._events else None, self.nas.next_due()) if at is not None]
        return min(found, default=None)

    def _deliver(self, alarm: Alarm) -> None:
        self.nas.begin(alarm)
        if self.outage() is not None and self._outages[0].both:
            self.tally.given_up += not self.nas.failed(alarm, self.now)
            return
        self.nas.delivered(alarm, self.now)
        self.tally.sentinels += alarm.job_id.startswith(SENTINEL_PREFIX)
        if self.up_at is None:
            self.up_at = self.now + timedelta(seconds=self.plan.cold_s)
            self.tally.cold_starts += 1
            self.tally.awake_s += self.plan.cold_s
            self._booting = True
            self._at(self.up_at + _SWEPT, self._boot)
        if accepts := self._accepts(alarm):
            self._at(max(self.now, self.up_at), accepts)

    def _accepts(self, alarm: Alarm) -> Callable[[], None] | None:
        if self.losses.strikes():
            self.tally.lost += 1
            return None
        doomed = self.crashes.below(_HALTS) if self.crashes.strikes() else None
        self.busy += 1
        return partial(self._see_through, Fire(alarm.job_id, alarm.at), doomed)

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
        self._at(quiet_since + timedelta(seconds=self.plan.idle_s), self._sleep_if_idle)
        if tend_at is not None:
            self.tend_at = tend_at
            self._at(tend_at, self._tend)

    # The agent.

    def _boot(self) -> None:
        self._booting = False
        self._woken()
        self.touch()

    def _woken(self) -> None:
        """A start, or a sentinel's fire: sweep, and reconcile fully with the real parts."""
        self._sweep()
        if not self.nas_up():
            return self._tend_soon()
        self.ladder.push(self.store, None)
        armer = Armer(self.store, self.client, Backoff())
        Reconciler(self.store, self.client, armer, monotonic() + _TRY_S).run_full(cancel_orphans=False)
        return None

    def nas_up(self) -> bool:
        """Whether NAS takes calls."""
        return self.outage() is None

    def _see_through(self, fire: Fire, doomed: int | None = None) -> None:
        self.busy -= 1
        self._spawn(self.scripts.see_through(fire, _acknowledged), doomed)

    def _spawn(self, script: Generator[Any, Any, Any], doomed: int | None = None) -> None:
        self.busy += 1
        self._go_on(Strand(script, doomed), None)

    def _go_on(self, strand: Strand, given: Any) -> None:
        """Drive a script up to its body, its end, or its crash."""
        while True:
            try:
                found = strand.script.send(given)
            except StopIteration:
                self.busy -= 1
                return self._tend_soon()
            given = None
            if isinstance(found, Call):
                given = self._call(found.order)
            elif isinstance(found, Body):
                return self._begin_body(strand, found.run)
            elif self._crashes_at(strand, found):
                return self._crash()

    def _crashes_at(self, strand: Strand, place: At) -> bool:
        if place.name == "firing.armed":
            self._tend_soon()
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
        timed_out = run.timeout is not None and run.timeout < self.plan.run_s
        seconds = run.timeout if timed_out and run.timeout is not None else self.plan.run_s
        state = RunState.FAILED if timed_out else RunState.SUCCEEDED
        self._at(self.now + timedelta(seconds=seconds), partial(self._end_body, strand, run, state))
        self._at(self.now + LEASE / 3, partial(self._renew, strand, run))

    def _end_body(self, strand: Strand, run: Run, state: RunState, error: str = "") -> None:
        if strand.body is run:
            strand.body = None
            error = "timed out" if state is RunState.FAILED else error
            self._go_on(strand, (replace(run, state=state, error=error), False))

    def _renew(self, strand: Strand, run: Run) -> None:
        if strand.body is not run:
            return
        held = self.store.change(run.job_id, partial(renew, run=run, lease=LEASE))
        if isinstance(held, Run) and held.cancel:
            self._end_body(strand, run, RunState.CANCELLED, held.cancel)
        else:
            self._at(self.now + LEASE / 3, partial(self._renew, strand, run))

    def _crash(self) -> None:
        self.tally.crashes += 1
        self._down()

    def _down(self) -> None:
        if self.up_at is not None:
            self.tally.awake_s += max(0.0, (self.now - self.up_at).total_seconds())
        self.up_at = None
        self._life += 1
        self.busy, self.tend_at, self._sweep_at, self._booting = 0, None, None, False

    def _ring(self, fire: Fire) -> None:
        self.busy += 1
        self._at(self.now, partial(self._see_through, fire))

    def _tend_soon(self, after: timedelta = TEND) -> None:
        self.touch()
        if self.tend_at is None:
            self.tend_at = self.now + after
            self._at(self.tend_at, self._tend)

    def _tend(self) -> None:
        self.tend_at = None
        if self.nas_up():
            self._drain(self.scripts.tend())
        else:
            self.ladder.push(self.store, None)
        self.touch()
        if self.store.wanted(1):
            again = max(self.outage() or self.now, self.now + timedelta(seconds=POLL_S))
            self._tend_soon(again - self.now)

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
            self._spawn(self.scripts.see_through(Fire(job_id, kind="sweep"), _acknowledged))
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

    def touch(self) -> None:
        """Something was done: the agent sleeps at the earliest `idle_s` from now."""
        self.quiet_since = max(self.quiet_since, self.now)
        self._plan_sweep()
        self._at(self.quiet_since + timedelta(seconds=self.plan.idle_s), self._sleep_if_idle)

    def _sleep_if_idle(self) -> None:
        quiet = (self.now - self.quiet_since).total_seconds()
        if quiet >= self.plan.idle_s and self.idle():
            self._down()

    def idle(self) -> bool:
        """What the real decision to sleep says."""
        gate = Gate(_acknowledged, _acknowledged)
        return IdleExit(self.store, NoQueue(), lambda: self.busy, gate, _acknowledged, self.plan.idle_s).idle()

    def _at(self, at: datetime, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), self._life, action))

    def _boot_seconds(self) -> float:
        return (self.now - EPOCH).total_seconds()


def _acknowledged() -> None:
    """There is no message to acknowledge, and no door to shut."""
