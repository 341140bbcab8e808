"""The protocol with NAS as a state machine: what is not wanted is what NAS holds, whatever gets lost on the way."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hermes_cron.arm import Order
from hermes_cron.errors import HermesCronError
from hermes_cron.job import Job
from hermes_cron.rules import arms, change
from hermes_cron.schedule import Schedule
from tests.unit.rules.world import HOUR, MINUTE, SECOND, World, job_of

pytestmark = pytest.mark.timeout(900)

JOBS = [
    job_of(Schedule("every", "every 10m", anchor="completion")),
    job_of(Schedule("cron", "*/20 * * * *")),
    job_of(Schedule("once", "2026-07-01T12:20:00+00:00")),
]
CALL = 3 * SECOND
indices = st.integers(0, 2**16)


class Nas(RuleBasedStateMachine):
    """One job and a NAS that fires late, twice and early, but each key only once."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.nas: datetime | None = None
        self.fired: set[datetime] = set()
        self.messages: list[datetime] = []
        self.orders: list[tuple[Order, datetime]] = []
        self.tokens = 0

    @initialize(job=st.sampled_from(JOBS))
    def create(self, job: Job) -> None:
        self.world.apply(change.create, job=job)

    @rule(step=st.sampled_from([SECOND, 2 * SECOND, 11 * SECOND, 5 * MINUTE, HOUR]))
    def time_passes(self, step: timedelta) -> None:
        self._to(self.world.now + step)

    @rule()
    def time_passes_to_the_wake(self) -> None:
        wake_at = self.world.record.arm.wake_at
        if wake_at is not None and wake_at > self.world.now:
            self._to(wake_at)

    def _to(self, now: datetime) -> None:
        # A call never outlives its deadline: what was under way for longer has ended, unanswered.
        self.orders = [(order, at) for order, at in self.orders if now <= at + CALL]
        self.world.now = now

    @rule(which=indices, twice=st.booleans())
    @precondition(lambda self: self.messages)
    def a_message_is_consumed(self, which: int, twice: bool) -> None:
        at = self.messages[which % len(self.messages)]
        if self.world.claim(at).wait is None and not twice:
            self.messages.remove(at)

    @rule()
    def the_sweep_claims(self) -> None:
        self.world.claim()

    @rule()
    def a_run_ends(self) -> None:
        for run in self.world.record.open_runs[:1]:
            self.world.complete(run)

    @rule(what=st.sampled_from([change.pause, change.resume, change.remove]))
    def a_person_changes_it(self, what: object) -> None:
        self._try(what)

    @rule(job=st.sampled_from(JOBS))
    def a_person_adds_or_edits_it(self, job: Job) -> None:
        self._try(change.edit if self.world.record.known else change.create, job=job)

    @rule()
    def a_person_stops_or_starts_everything(self) -> None:
        self.world.stopped = not self.world.stopped

    def _try(self, step: object, **options: object) -> None:
        try:
            self.world.apply(step, **options)  # type: ignore[arg-type]  # loosely typed, as tests are.
        except HermesCronError:
            return

    @rule()
    def the_armer_calls(self) -> None:
        self.tokens += 1
        order = self.world.apply(arms.lease, token=str(self.tokens))
        if order is not None:
            self.orders.append((order, self.world.now))

    @rule(which=indices, known=st.booleans())
    @precondition(lambda self: self.orders)
    def nas_obeys(self, which: int, known: bool) -> None:
        """NAS takes a key that it has fired for used, and does nothing. The answer may get lost."""
        order, _ = self.orders.pop(which % len(self.orders))
        if order.at is None or order.at not in self.fired:
            self.nas = order.at
        if known:
            wanted = self.world.apply(arms.confirm, order=order)
            assert wanted == (self.world.record.arm.wanted and not self._off())
        else:
            self.world.apply(arms.give_up, order=order, settled=False)

    @rule(which=indices, settled=st.booleans())
    @precondition(lambda self: self.orders)
    def nas_is_not_reached(self, which: int, settled: bool) -> None:
        order, _ = self.orders.pop(which % len(self.orders))
        self.world.apply(arms.give_up, order=order, settled=settled)

    @rule(early=st.sampled_from([timedelta(0), timedelta(0), 40 * SECOND, 5 * MINUTE]))
    @precondition(lambda self: self.nas is not None)
    def nas_fires(self, early: timedelta) -> None:
        assert self.nas is not None
        if self.nas <= self.world.now + early:
            self.messages.append(self.nas)
            self.fired.add(self.nas)
            self.nas = None

    @rule()
    def nas_forgets(self) -> None:
        self.nas = None
        self.world.apply(arms.forget)

    def _off(self) -> bool:
        return self.world.stopped and self.world.record.arm.wake_at is not None

    @invariant()
    def i11_what_is_not_wanted_is_what_nas_holds(self) -> None:
        arm = self.world.record.arm
        if not arm.wanted and self.world.record.job is not None:
            assert self.nas == arm.armed_at or arm.armed_at in self.messages


TestNas = Nas.TestCase
TestNas.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
