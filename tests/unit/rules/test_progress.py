"""What a claimed run may write: begin, renew, complete, hand back; retries, repeat and streaks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from hermes_cron.job import JobState
from hermes_cron.ledger import FireState
from hermes_cron.rules import change
from hermes_cron.rules.progress import Ended, Lost
from hermes_cron.run import Run, RunState
from hermes_cron.schedule import Schedule
from tests.unit.rules.world import DAY, HOUR, LEASE, MINUTE, NOON, SECOND, World, job_of

QUARTER = 15 * MINUTE


def due(**policies: object) -> World:
    """A world in which the fire of 12:15 is due."""
    world = World(job_of(**policies))
    world.now += QUARTER
    return world


def test_begin_renews_the_lease_and_sets_the_guard() -> None:
    world = due(timeout=600)
    run = world.claimed()
    world.now += 3 * SECOND
    begun = world.begin(run)
    assert isinstance(begun, Run)
    assert (begun.state, begun.started_at) == (RunState.STARTED, world.now)
    assert begun.lease_until == world.now + LEASE
    assert begun.guard_at == world.now + timedelta(seconds=600) + 2 * LEASE
    assert world.record.arm.wake_at == begun.guard_at


def test_the_guard_of_a_run_without_a_timeout_is_an_hour_away_and_moves_on_while_it_lives() -> None:
    world = due(repeat=1)
    run = world.begun()
    assert world.record.arm.wake_at == world.now + HOUR
    world.now += HOUR
    world.renew(run)
    assert world.claim().run is None
    assert world.record.arm.wake_at == world.now + HOUR


@pytest.mark.parametrize("how", ["pause", "remove", "stop", "pause and resume", "remove and add", "stop and start"])
def test_i15_what_was_claimed_before_does_not_begin_after(how: str) -> None:
    world = due()
    run = world.claimed()
    job = world.job
    if how.startswith("pause"):
        world.apply(change.pause)
    elif how.startswith("remove"):
        world.apply(change.remove)
    else:
        world.stopped = True
    if how.endswith("resume"):
        world.apply(change.resume)
    elif how.endswith("add"):
        world.apply(change.create, job=job)
    elif how.endswith("start"):
        world.apply(change.after_stop)
        world.stopped = False
    assert isinstance(world.begin(run), Lost)
    assert world.states() == {"12:15:00": "cancelled"}
    assert world.ended[run.id].state is RunState.CANCELLED


def test_a_live_run_goes_on_when_its_job_is_paused_and_a_failure_is_not_retried() -> None:
    world = due(max_attempts=3)
    run = world.begun()
    world.apply(change.pause)
    assert not isinstance(world.renew(run), Lost)
    world.complete(run, RunState.FAILED, "it failed")
    assert world.states() == {"12:15:00": "failed"}


def test_what_a_removed_job_left_running_is_not_taken_up_by_one_added_with_its_id() -> None:
    world = due(max_attempts=3)
    run, job = world.begun(), world.job
    world.apply(change.remove)
    world.apply(change.create, job=job)
    world.complete(run, RunState.FAILED)
    assert world.states() == {"12:15:00": "failed"}
    world = due()
    world.begun()
    world.apply(change.remove)
    world.apply(change.create, job=job)
    world.now += LEASE
    assert world.claim().run is None
    assert world.states() == {"12:15:00": "interrupted"}


def test_a_failed_run_is_retried_until_its_attempts_are_used_up() -> None:
    world = due(max_attempts=3, backoff=1)
    for attempt in (1, 2, 3):
        run = world.begun()
        assert (run.attempt, run.fire_at) == (attempt, NOON + QUARTER)
        world.complete(run, RunState.FAILED, "it failed")
        world.now += 5 * SECOND
    assert world.claim().run is None
    assert world.states() == {"12:15:00": "failed"}
    assert world.job.failures_in_row == 1


def test_a_retry_is_a_wake() -> None:
    world = due(max_attempts=2, backoff=60)
    world.ran(RunState.FAILED)
    (retry,) = world.record.retries
    assert world.record.arm.wake_at == retry.not_before
    assert world.claim().run is None


def test_a_retry_at_or_after_the_next_fire_is_not_planned() -> None:
    world = due(max_attempts=2, backoff=1)
    run = world.begun()
    world.now = NOON + 2 * QUARTER - timedelta(milliseconds=50)
    world.complete(run, RunState.FAILED)
    assert world.states() == {"12:15:00": "failed"}


def test_a_retry_that_is_found_only_after_the_next_fire_gives_way_to_it() -> None:
    world = due(max_attempts=2, backoff=1)
    world.ran(RunState.FAILED)
    world.now = NOON + 2 * QUARTER
    assert world.claimed().fire_at == NOON + 2 * QUARTER
    assert world.states() == {"12:15:00": "failed", "12:30:00": "running"}


def test_a_cancelled_run_that_fails_is_not_retried() -> None:
    world = due(max_attempts=5, backoff=1)
    run = world.begun()
    world.apply(change.cancel_run, run_id=run.id)
    world.complete(run, RunState.FAILED)
    assert world.states() == {"12:15:00": "failed"}


def test_reruns_then_interrupted_then_the_next_fire_as_usual() -> None:
    world = due(reruns=1)
    world.begun()
    world.now += LEASE
    assert world.begun().attempt == 2
    world.now = NOON + 2 * QUARTER
    assert world.claimed().fire_at == NOON + 2 * QUARTER
    assert world.states() == {"12:15:00": "interrupted", "12:30:00": "running"}


def test_a_drained_run_waits_is_first_again_and_is_no_rerun() -> None:
    world = due(overlap="queue", reruns=0)
    run = world.begun()
    world.now += QUARTER
    world.renew(run)
    world.claim()
    assert world.hand_back(run) == Ended(written=True, ring=True)
    assert world.ended[run.id].state is RunState.ABANDONED
    again = world.begun()
    assert (again.fire_at, again.attempt) == (NOON + QUARTER, 2)
    world.complete(again)
    assert world.begun().fire_at == NOON + 2 * QUARTER


def test_a_run_drained_during_a_stop_waits_for_its_end() -> None:
    world = World(job_of(Schedule("every", "every 15m", anchor="completion")))
    world.now += QUARTER
    run = world.begun()
    world.stopped = True
    assert world.hand_back(run) == Ended(written=True)
    assert world.states() == {"12:15:00": "waiting"}
    world.apply(change.after_stop)
    world.stopped = False
    assert world.claimed().fire_at == run.fire_at


@pytest.mark.parametrize("how", [change.pause, change.remove])
def test_a_drained_run_of_a_closed_job_is_cancelled(how: object) -> None:
    world = due()
    run = world.begun()
    world.apply(how)  # type: ignore[arg-type]  # loosely typed, as tests are.
    world.hand_back(run)
    assert world.states() == {"12:15:00": "cancelled"}


def test_i12_a_second_completion_changes_nothing() -> None:
    world = due()
    run = world.begun()
    world.complete(run)
    assert world.complete(run, RunState.FAILED) == Ended(written=False)
    assert world.hand_back(run) == Ended(written=False)
    assert world.states() == {"12:15:00": "succeeded"}


@pytest.mark.parametrize("crash", [False, True])
def test_i14_repeat_counts_fires_whatever_crashes(crash: bool) -> None:
    world = World(job_of(repeat=3, max_attempts=2, backoff=1))
    for _ in range(3):
        assert world.job.next_fire_at is not None
        world.now = world.job.next_fire_at
        run = world.begun()
        if crash:
            world.now += LEASE
            world.complete(world.begun(), RunState.FAILED)
            world.now += 2 * SECOND
            run = world.begun()
        world.complete(run)
    assert (world.job.state, world.job.counted, world.record.arm.wake_at) == (JobState.COMPLETED, 3, None)
    assert list(world.states().values()) == ["succeeded"] * 3


def test_i14_the_last_fire_may_still_be_retried() -> None:
    world = due(repeat=1, max_attempts=2, backoff=1)
    world.ran(RunState.FAILED)
    assert world.job.state is JobState.SCHEDULED
    world.now += 2 * SECOND
    world.ran()
    assert world.job.state is JobState.COMPLETED


def test_i14_a_job_paused_in_its_last_run_is_completed_with_it() -> None:
    world = due(repeat=1)
    run = world.begun()
    world.apply(change.pause)
    world.complete(run)
    assert world.job.state is JobState.COMPLETED


def test_i14_fires_that_wait_beyond_the_last_are_skipped() -> None:
    world = World(job_of(misfire="run_all(4)", grace=DAY.total_seconds(), repeat=2))
    world.now += HOUR
    world.ran()
    world.ran()
    assert sorted(world.states().values()) == ["skipped", "skipped", "succeeded", "succeeded"]
    assert world.job.state is JobState.COMPLETED


def test_manual_runs_and_retries_and_reruns_count_for_no_repeat() -> None:
    world = World(job_of(repeat=1))
    world.apply(change.run_now, uuid="1")
    world.ran(RunState.FAILED)
    assert (world.job.counted, world.job.failures_in_row, world.job.next_fire_at) == (0, 0, NOON + QUARTER)


def test_failures_in_a_row_pause_the_job_and_settle_what_is_due_and_waits() -> None:
    world = due(pause_on_failure=2, overlap="queue")
    world.ran(RunState.FAILED)
    world.now += QUARTER
    run = world.begun()
    world.now += QUARTER
    world.renew(run)
    world.claim()
    world.now += QUARTER
    world.complete(run, RunState.FAILED)
    assert (world.job.state, world.job.reason) == (JobState.PAUSED, "2 failures in a row")
    assert list(world.states().values()) == ["failed", "failed", "skipped", "skipped"]


def test_a_success_ends_the_row_of_failures() -> None:
    world = due(pause_on_failure=2)
    for state in (RunState.FAILED, RunState.SUCCEEDED, RunState.FAILED):
        world.ran(state)
        world.now += QUARTER
    assert (world.job.state, world.job.failures_in_row) == (JobState.SCHEDULED, 1)


def test_an_anchor_at_completion_counts_from_the_end_of_the_run() -> None:
    world = World(job_of(Schedule("every", "every 15m", anchor="completion")))
    world.now += QUARTER
    run = world.begun()
    assert world.job.next_fire_at is None
    world.now += 7 * MINUTE
    world.complete(run)
    assert world.job.next_fire_at == world.now + QUARTER


def test_completion_leaves_a_next_fire_alone_that_an_edit_has_set() -> None:
    world = World(job_of(Schedule("every", "every 15m", anchor="completion")))
    world.now += QUARTER
    run = world.begun()
    world.edit(replace(world.job, schedule=Schedule("every", "every 20m", anchor="completion")))
    expected = world.job.next_fire_at
    world.now += 7 * MINUTE
    world.complete(run)
    assert world.job.next_fire_at == expected == NOON + 35 * MINUTE


def test_a_waiting_fire_makes_no_wake_while_a_run_lives_and_is_due_at_its_end() -> None:
    world = due(overlap="queue", repeat=2)
    run = world.begun()
    world.now += QUARTER
    world.renew(run)
    world.claim()
    assert [entry.state for entry in world.record.waiting] == [FireState.WAITING]
    assert world.record.arm.wake_at == world.job.next_fire_at
    world.complete(run)
    assert world.record.arm.wake_at is not None
    assert world.record.arm.wake_at <= world.now


def test_i14_a_fire_that_is_due_when_the_last_one_is_granted_is_skipped() -> None:
    world = due(overlap="queue", repeat=2)
    run = world.begun()
    world.now += QUARTER
    world.renew(run)
    world.claim()
    world.now += QUARTER
    world.renew(run)
    world.complete(run)
    world.ran()
    assert world.states() == {"12:15:00": "succeeded", "12:30:00": "succeeded", "12:45:00": "skipped"}
    assert world.job.state is JobState.COMPLETED
