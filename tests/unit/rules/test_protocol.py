"""The protocol as a state machine: people, workers and the clock do what they like, and every promise holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from hermes_cron.errors import HermesCronError
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import Keep
from hermes_cron.policy import Policy
from hermes_cron.rules import change
from hermes_cron.rules.progress import Ended, Lost
from hermes_cron.run import Run, RunState
from hermes_cron.schedule import Schedule
from tests.unit.rules.world import DAY, HOUR, MINUTE, SECOND, World

pytestmark = pytest.mark.timeout(900)

SCHEDULES = [
    Schedule("every", "every 15m"),
    Schedule("every", "every 10m", anchor="completion"),
    Schedule("cron", "*/20 * * * *", "Europe/Lisbon"),
    Schedule("cron", "30 12 * * *"),
    Schedule("once", "2026-07-01T12:20:00+00:00"),
    Schedule("once", "2026-07-01T14:00:00+00:00"),
]
STEPS = [SECOND, 10 * SECOND, 31 * SECOND, 5 * MINUTE, 15 * MINUTE, HOUR, 26 * HOUR]
policies = st.builds(
    Policy, misfire=st.sampled_from(["run_latest", "run_all(3)", "skip"]), grace=st.sampled_from([None, 0, 600]),
    overlap=st.sampled_from(["skip", "queue", "allow", "replace"]), max_attempts=st.sampled_from([1, 3]),
    reruns=st.sampled_from([0, 1]), timeout=st.sampled_from([None, 60]), repeat=st.sampled_from([None, 1, 2, 3]),
    pause_on_failure=st.sampled_from([0, 0, 2]), backoff=st.sampled_from([1, 600]),
)  # fmt: skip
jobs = st.builds(
    lambda schedule, policy: Job("a", "app.task", schedule, policy=policy), st.sampled_from(SCHEDULES), policies
)
indices = st.integers(0, 2**16)


class Workers(RuleBasedStateMachine):
    """One job and any number of workers."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.handles: list[Run] = []
        self.closed: set[str] = set()
        self.tokens = 0

    @initialize(job=jobs)
    def create(self, job: Job) -> None:
        self.world.apply(change.create, job=job)

    @rule(step=st.sampled_from(STEPS), alive=st.booleans())
    def time_passes(self, step: timedelta, alive: bool) -> None:
        self.world.now += step
        for run in self.world.record.open_runs if alive else ():
            self.world.renew(run)

    @rule()
    def time_passes_to_the_wake(self) -> None:
        wake_at = self.world.record.arm.wake_at
        if wake_at is not None and wake_at > self.world.now:
            self.world.now = wake_at

    @rule(ahead=st.sampled_from([None, -HOUR, timedelta(0), 30 * SECOND, 2 * MINUTE]), which=indices)
    def some_fire_is_claimed(self, ahead: timedelta | None, which: int) -> None:
        job = self.world.record.job
        known = [] if job is None else [at for at in (job.next_fire_at, job.last_fire_at) if at is not None]
        at = None if ahead is None else [*known, self.world.now + ahead][which % (len(known) + 1)]
        self._claim(at)

    def _claim(self, at: datetime | None) -> bool:
        world = self.world
        claim = world.claim(at)
        if claim.run is not None:
            assert world.job.state is JobState.SCHEDULED, "I15: only a scheduled job is claimed"
            assert not world.stopped, "I15: nothing is claimed while everything is stopped"
            self.handles.append(claim.run)
        return claim.wait is None

    @rule(which=indices)
    @precondition(lambda self: self.handles)
    def a_run_begins(self, which: int) -> None:
        run = self._some_run(which)
        held = self._held(run)
        answer = self.world.begin(run)
        if held is None or run.id in self.closed or held.cancel:
            assert isinstance(answer, Lost), "I15, I6: this run may not begin"

    @rule(which=indices, state=st.sampled_from([RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED]))
    @precondition(lambda self: self.handles)
    def a_run_completes(self, which: int, state: RunState) -> None:
        self._fenced(which, lambda run: self.world.complete(run, state, "it failed"))

    @rule(which=indices)
    @precondition(lambda self: self.handles)
    def a_run_is_handed_back(self, which: int) -> None:
        self._fenced(which, self.world.hand_back)

    @rule(which=indices)
    @precondition(lambda self: self.handles)
    def the_process_of_a_run_dies(self, which: int) -> None:
        self._fenced(which, self.world.died)

    @rule(which=indices)
    @precondition(lambda self: self.handles)
    def a_run_is_renewed(self, which: int) -> None:
        self._fenced(which, self.world.renew)

    def _fenced(self, which: int, write: Any) -> None:
        run = self._some_run(which)
        held, before = self._held(run), self.world.record
        answer = write(run)
        if held is None:
            assert self.world.record == before, "I6: a stale worker wrote something"
        assert (held is None) == (isinstance(answer, Lost) or answer == Ended(written=False))

    def _some_run(self, which: int) -> Run:
        """Mostly one of the latest; earlier ones are stale."""
        latest = self.handles[-3:]
        return latest[which % 4] if which % 4 < len(latest) else self.handles[which % len(self.handles)]

    def _held(self, run: Run) -> Run | None:
        return self.world.record.run(run.id)

    @rule(what=st.sampled_from([change.pause, change.resume, change.remove]))
    def a_person_changes_it(self, what: Any) -> None:
        self._try(what)
        if what is not change.resume:
            self.closed |= {run.id for run in self.world.record.open_runs if run.state is RunState.CLAIMED}

    @rule(job=jobs)
    def a_person_adds_or_edits_it(self, job: Job) -> None:
        if self.world.record.known:
            self._try(change.edit, job=job)
        else:
            self._try(change.create, job=job)

    @rule(overlap=st.sampled_from(["skip", "queue", "allow", "replace"]), repeat=st.sampled_from([None, 1, 2, 4]))
    @precondition(lambda self: self.world.record.known)
    def a_person_edits_its_policies(self, overlap: str, repeat: int | None) -> None:
        before = self.world.job.next_fire_at
        policy = replace(self.world.job.policy, overlap=overlap, repeat=repeat)
        self._try(change.edit, job=replace(self.world.job, policy=policy))
        after = self.world.job
        assert before is None or after.used_up or after.next_fire_at == before, "only a moved schedule moves the fire"

    @rule()
    def a_person_runs_it_now(self) -> None:
        self.tokens += 1
        before = self.world.record.job
        if self._try(change.run_now, uuid=str(self.tokens)) is not None:
            assert before is not None
            assert (self.world.job.next_fire_at, self.world.job.counted) == (before.next_fire_at, before.counted)

    @rule(which=indices)
    @precondition(lambda self: self.handles)
    def a_person_cancels_a_run(self, which: int) -> None:
        self._try(change.cancel_run, run_id=self._some_run(which).id)

    @rule(fires=st.sampled_from([1, 2, 5]), span=st.sampled_from([timedelta(0), HOUR, DAY]))
    def the_ledger_is_trimmed(self, fires: int, span: timedelta) -> None:
        self.world.trim(Keep(fires, span, dead=fires))

    @rule(which=indices)
    @precondition(lambda self: self.world.trimmed)
    def the_message_of_a_trimmed_fire_comes_again(self, which: int) -> None:
        entry = list(self.world.trimmed.values())[which % len(self.world.trimmed)]
        before = len(self.handles)
        self._claim(None if entry.manual else entry.fire_at)
        assert all(run.key != entry.key for run in self.handles[before:]), "I13: a trimmed fire runs again"

    @rule()
    def a_person_stops_or_starts_everything(self) -> None:
        if self.world.stopped:
            self.world.apply(change.after_stop)
        self.closed |= {run.id for run in self.world.record.open_runs if run.state is RunState.CLAIMED}
        self.world.stopped = not self.world.stopped

    def _try(self, step: Any, **options: Any) -> Any:
        try:
            return self.world.apply(step, **options)
        except HermesCronError:
            return None

    def teardown(self) -> None:
        """Whatever happened: once everybody is at work again, every fire gets its outcome."""
        world = self.world
        if world.record.job is None:
            return
        if world.stopped:
            world.apply(change.after_stop)
            world.stopped = False
        for _ in range(20):
            world.now += DAY
            run = world.claim().run
            while run is not None:
                world.begin(run)
                world.complete(run)
                run = world.claim().run
        assert not world.record.entries, "I12: a fire has no outcome"
        assert not world.record.open_runs, "a run was never closed"


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
