"""The state machine over the whole circle, and how it is brought to rest."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hermes_cron.fire import Fire
from hermes_cron.job import Job
from hermes_cron.policy import Policy
from hermes_cron.rules import change
from hermes_cron.run import RunState
from hermes_cron.schedule import Schedule
from hermes_cron.virtual.nas import SHORT_RETRIES, ModelNas
from hermes_cron.virtual.scripts import Body, Call
from tests.unit.simulation.circle import PEOPLE, RUNGS, Circle, Message, Protocol, Strand
from tests.unit.simulation.rest import come_to_rest, fall_asleep

LONG = os.environ.get("HERMES_CRON_TEST_LONG") == "1"
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
IDS = ["a", "b"]
SCHEDULES = [
    Schedule("every", "every 15m"),
    Schedule("cron", "*/20 * * * *", "Europe/Lisbon"),
    Schedule("cron", "30 12 * * *"),
    Schedule("every", "every 10m", anchor="completion"),
    Schedule("once", "2026-07-01T12:20:00+00:00"),
]
CHANGES = [change.pause, change.resume, change.pause, change.resume, change.remove]
policies = st.builds(
    Policy, misfire=st.sampled_from(["run_latest", "run_all(3)", "skip"]),
    overlap=st.sampled_from(["skip", "queue", "allow", "replace"]), max_attempts=st.sampled_from([1, 2]),
    reruns=st.sampled_from([1, 0]), timeout=st.sampled_from([None, 60]), repeat=st.sampled_from([None, None, 2]),
    backoff=st.sampled_from([1, 600]),
)  # fmt: skip
definitions = st.tuples(st.sampled_from(SCHEDULES), policies)
which = st.integers(0, 2**16)
workers = st.integers(0, 1)


def search(examples: int, steps: int) -> settings:
    """How a machine is run: always in the same way, without a database, and without shrinking what was planted."""
    return settings(
        max_examples=examples * (20 if LONG else 1), stateful_step_count=steps, deadline=None, database=None,
        derandomize=not LONG, phases=[Phase.generate, *([Phase.shrink] if LONG else [])],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def job_of(job_id: str, definition: tuple[Schedule, Policy]) -> Job:
    return Job(job_id, "app.task", definition[0], policy=definition[1])


class Whole(RuleBasedStateMachine):
    """Everybody does what they like: two workers, people, the broker, NAS, the network, and the clock."""

    def __init__(self, protocol: Protocol | None = None) -> None:
        super().__init__()
        self.protocol = protocol or Protocol()
        self.asked = 0

    @initialize(
        first=definitions, second=definitions, remembers=st.booleans(), settle=st.sampled_from([None, 60.0]),
        asleep=st.booleans(), armed=st.sampled_from([True, True, False]),
    )  # fmt: skip
    def begin(
        self, first: Any, second: Any, remembers: bool, settle: float | None, asleep: bool, armed: bool
    ) -> None:  # fmt: skip
        nas = ModelNas(SHORT_RETRIES, settle, remembers)
        self.circle = Circle(self.protocol, nas, RUNGS)
        self.asleep = asleep
        for job_id, definition in zip(IDS, (first, second), strict=True):
            self._people(partial(change.create, job=job_of(job_id, definition)), job_id)
        for strand in list(self.circle.strands):
            if armed:
                self._well(strand)

    # Scripts go on, well or badly.

    @rule(which=which, steps=st.sampled_from([1, 2, 40]))
    @precondition(lambda self: self.circle.strands)
    def a_script_goes_on(self, which: int, steps: int) -> None:
        strand = self.circle.strands[which % len(self.circle.strands)]
        if steps < 40:
            self.circle.go_on(strand, steps)
        else:
            self._well(strand)

    @rule(which=which, how=st.sampled_from(["good", "unanswered", "lost", "unsent", "stray"]))
    def a_call_to_nas_ends(self, which: int, how: str) -> None:
        if strand := self._waiting(Call, which):
            self.circle.answer_call(strand, how)
            self.circle.go_on(strand)

    @rule(which=which, state=st.sampled_from([RunState.SUCCEEDED, RunState.FAILED]), back=st.booleans())
    def a_body_ends(self, which: int, state: RunState, back: bool) -> None:
        if strand := self._waiting(Body, which):
            self.circle.answer_body(strand, RunState.CANCELLED if back and which % 4 == 0 else state, back)
            self.circle.go_on(strand, 1 + which % 3)

    def _well(self, strand: Strand) -> None:
        for _ in range(40):
            self._go_well(strand)

    # Scenes: what seldom happens by chance, and is where a protocol breaks.

    @rule(owner=workers, steps=st.integers(0, 20))
    def a_fire_is_seen_to_up_to_some_step(self, owner: int, steps: int) -> None:
        self._fire(owner, steps)

    @rule(owner=workers, state=st.sampled_from([RunState.SUCCEEDED, RunState.FAILED]))
    def a_fire_is_seen_through(self, owner: int, state: RunState) -> None:
        strand = self._fire(owner, 40)
        if strand is not None and isinstance(strand.waits, Body):
            self.circle.answer_body(strand, state)
            self._well(strand)

    @rule(
        owner=workers, steps=st.sampled_from([1, 1, 2, 3, 4, 5, 6]), what=st.sampled_from([*CHANGES, None]),
        goes_on=st.sampled_from([True, True, False]),
    )  # fmt: skip
    def a_change_comes_between_two_steps(self, owner: int, steps: int, what: Any, goes_on: bool) -> None:
        strand = self._fire(owner, steps)
        if strand is None:
            return
        job_id = strand.job_id
        if what is None:
            self._stop_or_start(True, steps)
        else:
            self.a_person_changes_a_job(job_id if job_id in IDS else "a", what)
        if goes_on:
            self._well(strand)
        if what is change.pause:
            self.a_person_changes_a_job(job_id if job_id in IDS else "a", change.resume)
        if what is None:
            self._stop_or_start(False, 40)

    @rule(owner=workers, thaws=st.booleans())
    def a_frozen_worker_is_taken_over(self, owner: int, thaws: bool) -> None:
        frozen = [s for s in self.circle.strands if s.owner != owner and isinstance(s.waits, Body)]
        self.circle.to(self.circle.clock.now + 31 * SECOND)
        self.circle.alive[owner] = True
        self.circle.sweep(owner)
        for strand in [strand for strand in self.circle.strands if strand.owner == owner]:
            self._well(strand)
        for strand in frozen if thaws else ():
            self.circle.answer_body(strand, RunState.SUCCEEDED)
            self._well(strand)

    @rule(job_id=st.sampled_from(IDS), first=definitions, second=definitions)
    def an_older_call_comes_later_than_a_change(self, job_id: str, first: Any, second: Any) -> None:
        for definition, how in ((first, "stray"), (second, "good")):
            self.a_person_adds_or_edits_a_job(job_id, definition)
            for strand in self.circle.strands[-1:]:
                self.circle.go_on(strand, 3)
                if isinstance(strand.waits, Call) and strand.answer is None:
                    self.circle.answer_call(strand, how)
                self._well(strand)
        for _ in list(self.circle.strays):
            self.a_late_call_arrives(0)

    def _fire(self, owner: int, steps: int) -> Strand | None:
        """NAS's next alarm is delivered and consumed, and goes well for some steps."""
        circle = self.circle
        circle.alive[owner] = True
        circle.to(circle.nas.next_due() or circle.clock.now)
        for alarm in circle.nas.to_deliver(circle.clock.now)[:1]:
            circle.deliver(alarm)
        if not circle.queue:
            return None
        strand = circle.consume(owner, circle.queue[-1])
        for _ in range(steps if strand is not None else 0):
            self._go_well(strand)
        return strand

    def _go_well(self, strand: Strand | None) -> None:
        if strand is None:
            return
        if isinstance(strand.waits, Call) and strand.answer is None:
            self.circle.answer_call(strand, "good")
        self.circle.go_on(strand)

    def _waiting(self, kind: type, which: int) -> Strand | None:
        found = self.circle.waiting_for(kind)
        return found[which % len(found)] if found else None

    # Workers.

    @rule(owner=st.sampled_from([0, 1, PEOPLE]), restarts=st.sampled_from([True, True, False]))
    def a_process_crashes(self, owner: int, restarts: bool) -> None:
        self.circle.crash(owner)
        if restarts and owner != PEOPLE:
            self.circle.start(owner)

    @rule(owner=workers, which=which, well=st.booleans())
    @precondition(lambda self: self.circle.queue)
    def a_worker_consumes(self, owner: int, which: int, well: bool) -> None:
        circle = self.circle
        if circle.alive[owner]:
            strand = circle.consume(owner, circle.queue[which % len(circle.queue)])
            if strand is not None and well:
                self._well(strand)

    @rule(owner=workers, sweeps=st.booleans(), well=st.booleans())
    def a_worker_sweeps_or_tends(self, owner: int, sweeps: bool, well: bool) -> None:
        if not self.circle.alive[owner]:
            self.circle.start(owner)
        elif sweeps:
            self.circle.sweep(owner)
        else:
            self.circle.spawn(owner, self.circle.scripts[owner].tend())
        for strand in [strand for strand in self.circle.strands if strand.owner == owner and well]:
            self._well(strand)

    @rule(owner=workers, seconds=st.sampled_from([-7200.0, -40.0, 40.0, 7200.0]), doubled=st.booleans())
    def the_clock_of_a_machine_jumps(self, owner: int, seconds: float, doubled: bool) -> None:
        circle = self.circle
        circle.drift[owner] += seconds
        for strand in circle.waiting_for(Body)[:1] if doubled else ():
            circle.queue.append(Message(Fire(strand.waits.run.job_id, strand.waits.run.fire_at)))
            again = circle.consume(owner, circle.queue[-1]) if circle.alive[owner] else None
            if again is not None:
                self._well(again)

    @rule()
    def who_is_idle_sleeps(self) -> None:
        """I11: nobody may sleep while an arm is wanted, or NAS does not hold what is confirmed."""
        if any(self.circle.alive) and self.circle.idle():
            assert not self.circle.store.wanted(99), "I11: idle while an arm is wanted"
            self.circle.alive = [False, False]

    # Time.

    @rule(step=st.sampled_from([SECOND, 4 * SECOND, 31 * SECOND, 5 * MINUTE, HOUR, 26 * HOUR]), alive=st.booleans())
    def time_passes(self, step: timedelta, alive: bool) -> None:
        self.circle.to(self.circle.clock.now + step)
        if alive:
            self.circle.renew_all()

    @rule(early=st.sampled_from([0, 0, 40, 300]), how=st.sampled_from(["good", "lost", "refused"]))
    def nas_delivers(self, early: int, how: str) -> None:
        for alarm in self.circle.nas.to_deliver(self.circle.clock.now + early * SECOND)[:1]:
            self.circle.deliver(alarm, how)

    # Faults of NAS, of the way, and of the broker.

    @rule(nas_up=st.sampled_from([True, True, False]), way_up=st.sampled_from([True, True, False]))
    def an_outage_begins_or_ends(self, nas_up: bool, way_up: bool) -> None:
        self.circle.nas_up, self.circle.way_up = nas_up, way_up

    @rule(which=which)
    @precondition(lambda self: self.circle.strays)
    def a_late_call_arrives(self, which: int) -> None:
        order, _ = self.circle.strays.pop(which % len(self.circle.strays))
        self.circle.nas.obey(order)

    @rule(which=which, loses=st.booleans())
    @precondition(lambda self: self.circle.queue)
    def the_broker_loses_or_doubles(self, which: int, loses: bool) -> None:
        message = self.circle.queue[which % len(self.circle.queue)]
        if loses:
            self.circle.lose(message)
        else:
            self.circle.queue.append(type(message)(message.fire))

    # People.

    @rule(job_id=st.sampled_from(IDS), what=st.sampled_from(CHANGES))
    def a_person_changes_a_job(self, job_id: str, what: Any) -> None:
        self._people(what, job_id)
        if what is not change.resume:
            self.circle.store.bar(job_id)

    @rule(job_id=st.sampled_from(IDS), definition=definitions)
    def a_person_adds_or_edits_a_job(self, job_id: str, definition: Any) -> None:
        record = self.circle.store.read(job_id)
        step = change.edit if record is not None and record.known else change.create
        self._people(partial(step, job=job_of(job_id, definition)), job_id)

    @rule(job_id=st.sampled_from(IDS))
    def a_person_runs_a_job(self, job_id: str) -> None:
        self.asked += 1
        self._people(partial(change.run_now, uuid=str(self.asked)), job_id)

    def _people(self, step: Any, job_id: str) -> None:
        strand = self.circle.spawn(PEOPLE, self.circle.scripts[PEOPLE].change(job_id, step))
        self.circle.go_on(strand)

    @rule(which=which, well=st.booleans())
    def a_person_stops_or_starts_everything(self, which: int, well: bool) -> None:
        stops = not self.circle.store.stopped()
        if not stops or which % 4 == 0:
            self._stop_or_start(stops, 40 if well else which % 6)

    def _stop_or_start(self, stops: bool, steps: int) -> None:
        scripts = self.circle.scripts[PEOPLE]
        strand = self.circle.spawn(PEOPLE, scripts.stop() if stops else scripts.start())
        for _ in range(1 + steps):
            self._go_well(strand)

    # What holds at every moment, and in the end.

    @invariant()
    def i11_what_is_not_wanted_is_what_nas_holds(self) -> None:
        circle = self.circle
        coming = circle.on_their_way()
        for record in circle.store.arms():
            arm = record.arm
            if arm.wanted:
                continue
            held = circle.nas.held.get(record.job_id)
            at = held.at if held is not None else None
            assert at == arm.armed_at or (record.job_id, arm.armed_at) in coming, (
                f"I11: {record.job_id} is confirmed for {arm.armed_at}, and NAS holds {at}"
            )

    def teardown(self) -> None:
        """Whatever happened: once the faults end, everything comes right, whether a worker lives or NAS wakes one."""
        if not hasattr(self, "circle"):
            return
        if self.asleep:
            fall_asleep(self.circle)
        else:
            come_to_rest(self.circle)
