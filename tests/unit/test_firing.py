"""The story of one fire: claim, arm, begin, run, complete, arm; and what becomes of it when a part fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

import pytest

from hermes_cron.errors import BrokerError, Draining, HermesCronError, StoreBusy, StoreError
from hermes_cron.fire import Fire
from hermes_cron.firing import Firing
from hermes_cron.interfaces import Store
from hermes_cron.ledger import FireState
from hermes_cron.output import Line, Output
from hermes_cron.rules import change
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.run import Run, RunState, StopSign
from tests.unit.parts import LEASE, NOON, Between, FakeClock, ListBroker, Scheduler, add

DUE = NOON + timedelta(minutes=15)


@dataclass
class Stage:
    """A firing over a real store; `said` is what happened, in order, as its seams saw it."""

    real: Store
    clock: FakeClock
    said: list[str] = field(default_factory=list)
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    body: Callable[[Run, StopSign], Run] = lambda run, sign: replace(run, state=RunState.SUCCEEDED)
    ended: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.broker = ListBroker(self.said)
        self.scheduler = Scheduler(self.said)
        store: Store = Between(self.real, self.between)  # type: ignore[assignment]  # a stand-in.
        self.firing = Firing(
            store, self.broker, self.scheduler, Claimer("w", LEASE), self.keep, self.execute,
            lambda: self.said.append("awake"),
        )  # fmt: skip

    def between(self, name: str) -> None:
        self.said.append(name)
        self.before.get(name, lambda: None)()

    @contextmanager
    def keep(self, run: Run) -> Iterator[StopSign]:
        yield StopSign()

    def execute(self, run: Run, sign: StopSign) -> Run:
        self.said.append("run")
        self.ended.append(self.body(run, sign))
        return self.ended[-1]

    def due(self, **policies: object) -> None:
        add(self.real, **policies)
        self.clock.now = DUE

    def fire(self, job_id: str = "a", ahead: float | None = 0) -> float | None:
        at = None if ahead is None else DUE + timedelta(seconds=ahead)
        return self.firing.fire_due(Fire(job_id, at), lambda: self.said.append("ack"))

    def outcome(self, job_id: str = "a") -> str:
        return str(self.real.fires(job_id)[0].state)


@pytest.fixture
def stage(store: Store, clock: FakeClock) -> Stage:
    return Stage(store, clock)


def fail_times(times: int, error: Exception) -> Callable[[], None]:
    left = [error] * times

    def fail() -> None:
        if left:
            raise left.pop()

    return fail


def test_claims_acks_arms_begins_runs_completes_arms(stage: Stage) -> None:
    stage.due()
    assert stage.fire() is None
    assert stage.said == ["claim", "ack", "arm a", "begin", "run", "complete", "arm a"]
    assert stage.outcome() == "succeeded"


@pytest.mark.parametrize("kind", ["duplicate", "stale", "paused", "stopped"])
def test_i13_a_refused_fire_is_acked_and_armed_anew_and_runs_nothing(stage: Stage, kind: str) -> None:
    stage.due()
    if kind == "paused":
        stage.real.change("a", change.pause)
    elif kind == "stopped":
        stage.real.set_stopped(True)
    elif kind == "duplicate":
        stage.fire()
    else:
        stage.fire()
        stage.fire(ahead=-600)
    stage.said.clear()
    before = stage.real.fires("a"), stage.real.runs("a")
    assert stage.fire() is None
    assert stage.said == ["claim", "ack", "arm a"]
    assert (stage.real.fires("a"), stage.real.runs("a")) == before


def test_a_spent_alarm_is_wanted_again(stage: Stage) -> None:
    stage.due()
    stage.fire()
    assert stage.real.wanted(10) == ["a"]


@pytest.mark.parametrize("ahead", [0.5, 30.0, 60.0])
def test_an_early_fire_is_not_acked_and_returns_its_wait(stage: Stage, ahead: float) -> None:
    stage.due()
    assert stage.fire(ahead=ahead) == ahead
    assert stage.said == ["claim"]
    assert stage.real.runs("a") == []


def test_a_fire_much_too_early_is_refused_and_armed(stage: Stage) -> None:
    stage.due()
    stage.fire()
    stage.said.clear()
    assert stage.fire(ahead=15 * 60) is None
    assert stage.said == ["claim", "ack", "arm a"]


def test_a_fire_for_an_unknown_job_is_answered_with_a_disarm(stage: Stage) -> None:
    assert stage.fire("nobody") is None
    assert stage.said == ["claim", "ack", "arm nobody"]
    assert stage.real.read("nobody") is None


def test_a_fire_for_a_removed_job_is_answered_with_a_disarm(stage: Stage) -> None:
    stage.due()
    stage.real.change("a", change.remove)
    assert stage.fire() is None
    assert stage.said == ["claim", "ack", "arm a"]
    assert stage.real.runs("a") == []


@pytest.mark.parametrize("change_of_mind", ["pause", "remove", "stop", "pause and resume"])
def test_i15_nothing_starts_that_was_paused_between_claim_and_begin(stage: Stage, change_of_mind: str) -> None:
    stage.due()

    def change_it() -> None:
        if change_of_mind == "stop":
            stage.real.set_stopped(True)
        elif change_of_mind == "remove":
            stage.real.change("a", change.remove)
        else:
            stage.real.change("a", change.pause)
        if change_of_mind == "pause and resume":
            stage.real.change("a", change.resume)

    stage.before["begin"] = change_it
    assert stage.fire() is None
    assert "run" not in stage.said
    assert stage.said[-1] == "arm a"
    assert stage.outcome() == "cancelled"


def test_a_completion_is_retried_while_the_store_is_away(stage: Stage) -> None:
    stage.due()
    stage.before["complete"] = fail_times(1, StoreError("away"))
    stage.fire()
    assert stage.said == ["claim", "ack", "arm a", "begin", "run", "complete", "complete", "arm a"]
    assert stage.outcome() == "succeeded"


def test_a_begin_is_retried_while_the_store_is_away(stage: Stage) -> None:
    stage.due()
    stage.before["begin"] = fail_times(1, StoreBusy("locked"))
    stage.fire()
    assert stage.said.count("run") == 1
    assert stage.outcome() == "succeeded"


def test_tells_a_store_that_stayed_away_from_a_run_that_was_taken_over(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.due()
    stage.before["complete"] = fail_times(10**6, StoreError("away"))
    stage.firing = replace(stage.firing, keep_s=0.0)
    stage.fire()
    assert "the store could not be told in 0 s" in caplog.text
    assert "taken over" not in caplog.text
    assert stage.outcome() == "running", "whoever finds its lease dead goes on"


def test_i6_a_run_that_was_taken_over_writes_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.due()

    def taken_over(run: Run, sign: StopSign) -> Run:
        stage.clock.advance(31)
        stage.real.change("a", partial(claim, fire=Fire("a"), claimer=Claimer("other", LEASE)))
        return replace(run, state=RunState.SUCCEEDED, result='"stale"')

    stage.body = taken_over
    stage.fire()
    old, new = sorted(stage.real.runs("a"), key=lambda run: run.fence)
    assert (old.state, old.result) == (RunState.ABANDONED, "")
    assert (new.state, new.worker) == (RunState.CLAIMED, "other")
    assert "but it was taken over or closed meanwhile: not written" in caplog.text
    assert "ring a" not in stage.said


def test_rings_after_complete_when_a_fire_waits(stage: Stage) -> None:
    stage.due(overlap="queue")

    def run_now(run: Run, sign: StopSign) -> Run:
        stage.real.change("a", partial(change.run_now, uuid="1"))
        return replace(run, state=RunState.SUCCEEDED)

    stage.body = run_now
    stage.fire()
    assert stage.said[-3:] == ["complete", "ring a", "arm a"]
    assert stage.broker.fires[-1].fire_at is None


def test_rings_after_a_refused_begin_when_a_fire_waited_behind_it(stage: Stage) -> None:
    stage.due()

    def pause_and_run_again() -> None:
        stage.before.clear()
        stage.real.change("a", change.pause)
        stage.real.change("a", change.resume)
        stage.real.change("a", partial(change.run_now, uuid="1"))

    stage.before["begin"] = pause_and_run_again
    stage.fire()
    assert stage.said == ["claim", "ack", "arm a", "begin", "ring a", "arm a"]
    assert stage.real.overdue(5) == ["a"]


@pytest.mark.parametrize("fault", [BrokerError("gone"), Draining("ends")])
def test_a_bell_that_cannot_be_rung_stops_nothing(stage: Stage, fault: HermesCronError) -> None:
    stage.due(overlap="queue")
    stage.before["complete"] = lambda: stage.real.change("a", partial(change.run_now, uuid="1")) and None
    stage.broker.fault = fault
    assert stage.fire() is None
    assert stage.said[-1] == "arm a"
    assert stage.real.overdue(5) == ["a"]


def test_a_sentinels_fire_arms_calls_awake_and_runs_nothing(stage: Stage) -> None:
    stage.due()
    assert stage.fire("_wake.2") is None
    assert stage.said == ["claim", "ack", "arm _wake.2", "awake"]


@pytest.mark.parametrize("fault", [HermesCronError("NAS is away"), ValueError("a bug in a plugin"), None])
def test_i11_a_failed_arm_stops_no_run_and_stays_wanted(stage: Stage, fault: Exception | None) -> None:
    stage.due()
    stage.scheduler.fault, stage.scheduler.holds = fault, False
    assert stage.fire() is None
    assert stage.said == ["claim", "ack", "arm a", "begin", "run", "complete", "arm a"]
    assert stage.outcome() == "succeeded"
    assert stage.real.wanted(5) == ["a"]


@pytest.mark.parametrize("error", [StoreError("away"), StoreBusy("locked")])
def test_a_claim_that_could_not_be_decided_is_not_acked(stage: Stage, error: StoreError) -> None:
    stage.due()
    stage.before["claim"] = fail_times(1, error)
    with pytest.raises(StoreError):
        stage.fire()
    assert stage.said == ["claim"]
    assert stage.real.runs("a") == []


def test_a_run_that_failed_is_written_and_tried_again_later(stage: Stage) -> None:
    stage.due(max_attempts=3, backoff=20.0)
    stage.body = lambda run, sign: replace(run, state=RunState.FAILED, error="no")
    stage.fire()
    entry = stage.real.fires("a")[0]
    assert (entry.state, entry.failures, entry.reason) == (FireState.WAITING, 1, "no")
    assert "ring a" not in stage.said


def test_hands_back_what_its_worker_stopped(stage: Stage) -> None:
    stage.due()

    def stopped(run: Run, sign: StopSign) -> Run:
        sign.put_up("its worker drains", hand_back=True)
        return replace(run, state=RunState.CANCELLED, error=sign.reason)

    stage.body = stopped
    stage.fire()
    assert stage.said == ["claim", "ack", "arm a", "begin", "run", "hand_back", "ring a", "arm a"]
    assert stage.outcome() == "waiting"
    assert stage.real.runs("a")[0].state is RunState.ABANDONED


def test_tells_of_a_run_whose_process_died(stage: Stage) -> None:
    stage.due()
    stage.body = lambda run, sign: replace(run, state=RunState.ABANDONED, error="its process was killed by SIGSEGV")
    stage.fire()
    assert stage.said == ["claim", "ack", "arm a", "begin", "run", "died", "ring a", "arm a"]
    assert stage.outcome() == "waiting"
    assert stage.real.runs("a")[0].error == "its process was killed by SIGSEGV"


def test_completes_what_ended_before_it_heard_of_the_drain(stage: Stage) -> None:
    stage.due()

    def done(run: Run, sign: StopSign) -> Run:
        sign.put_up("its worker drains", hand_back=True)
        return replace(run, state=RunState.SUCCEEDED)

    stage.body = done
    stage.fire()
    assert "hand_back" not in stage.said
    assert stage.outcome() == "succeeded"


def test_a_cancelled_run_completes_as_cancelled(stage: Stage) -> None:
    stage.due()

    def cancelled(run: Run, sign: StopSign) -> Run:
        sign.put_up("by Ann")
        return replace(run, state=RunState.CANCELLED, error=sign.reason)

    stage.body = cancelled
    stage.fire()
    assert stage.outcome() == "cancelled"


def test_i14_the_last_counted_fire_completes_the_job(stage: Stage) -> None:
    stage.due(repeat=1)
    stage.fire()
    record = stage.real.read("a")
    assert record is not None
    assert record.job is not None
    assert (record.job.state, record.arm.wake_at) == ("completed", None)


def test_i13_a_storm_of_one_fire_runs_it_once(stage: Stage) -> None:
    stage.due()
    for _ in range(20):
        stage.fire()
        stage.fire(ahead=None)
    assert stage.said.count("run") == 1
    assert stage.said.count("ack") == stage.said.count("claim")


SAID = Output((Line(NOON, "stdout", "high water"),))


def says(run: Run, sign: StopSign) -> Run:
    return replace(run, state=RunState.SUCCEEDED, output=SAID)


def test_what_a_run_said_is_kept_once_its_outcome_is_written(stage: Stage) -> None:
    stage.due()
    stage.body = says
    stage.fire()
    run = stage.real.runs("a")[0]
    assert (run.state, stage.real.output(run.id)) == (RunState.SUCCEEDED, SAID)


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED, RunState.ABANDONED])
def test_what_a_run_said_that_did_not_succeed_is_kept_too(stage: Stage, state: RunState) -> None:
    stage.due()
    stage.body = lambda run, sign: replace(run, state=state, output=SAID)
    stage.fire()
    assert stage.real.output(stage.ended[0].id) == SAID


@pytest.mark.parametrize("output", [None, Output()])
def test_a_run_that_said_nothing_costs_no_write(stage: Stage, output: Output | None) -> None:
    kept = Keeping(stage)
    stage.due()
    stage.body = lambda run, sign: replace(run, state=RunState.SUCCEEDED, output=output)
    stage.fire()
    assert (stage.outcome(), kept.tries) == ("succeeded", 0)


@pytest.mark.parametrize("error", [StoreBusy("held"), StoreError("gone"), ValueError("a fault of ours")])
def test_an_outcome_stands_though_what_the_run_said_cannot_be_kept(
    stage: Stage, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Keeping(stage, error)
    stage.due()
    stage.body = says
    assert stage.fire() is None
    assert (stage.outcome(), kept.tries) == ("succeeded", 1)
    assert stage.said[-1] == "arm a", "and the next alarm is armed"
    assert f"what run {stage.ended[0].id} said is not kept: {type(error).__name__}" in caplog.text


def test_i6_a_run_that_was_taken_over_keeps_nothing_of_what_it_said(stage: Stage) -> None:
    kept = Keeping(stage)
    stage.due()

    def body(run: Run, sign: StopSign) -> Run:
        stage.clock.advance(LEASE.total_seconds() + 1)
        stage.real.change("a", partial(claim, fire=Fire("a"), claimer=Claimer("other", LEASE)))
        return says(run, sign)

    stage.body = body
    stage.fire()
    assert kept.tries == 0
    assert stage.real.output(stage.ended[0].id) is None


class Keeping:
    """Counts what is asked to be kept of runs' words, and meets it with an error."""

    def __init__(self, stage: Stage, error: Exception | None = None) -> None:
        self.tries = 0
        self._error = error
        stage.firing.store.keep_output = self.keep  # type: ignore[method-assign]  # `Between` stands in the way of one more call.

    def keep(self, run: Run, output: Output) -> None:
        self.tries += 1
        if self._error is not None:
            raise self._error
