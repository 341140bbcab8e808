"""What people change: create, edit, pause, resume, remove, run now, cancel a run, and the end of a global stop."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from hermes_cron.errors import JobExists, JobNotFound, JobStateError, RunNotFound, ScheduleError
from hermes_cron.job import JobState
from hermes_cron.rules import arms, change
from hermes_cron.rules.progress import Lost
from hermes_cron.run import RunState
from hermes_cron.schedule import Schedule
from tests.unit.rules.world import DAY, HOUR, MINUTE, NOON, SECOND, World, job_of

QUARTER = 15 * MINUTE
HALF_HOURLY = Schedule("every", "every 30m")


def due(**policies: object) -> World:
    """A world in which the fire of 12:15 is due."""
    world = World(job_of(**policies))
    world.now += QUARTER
    return world


def disarmed(world: World) -> None:
    """Let NAS do what is wanted of it now."""
    order = world.apply(arms.lease, token="t")
    assert order is not None
    world.apply(arms.confirm, order=order)


def test_a_new_job_fires_first_after_now_and_is_to_be_armed() -> None:
    world = World(job_of())
    assert (world.job.next_fire_at, world.job.created_at) == (NOON + QUARTER, NOON)
    assert world.record.arm.wake_at == NOON + QUARTER
    assert world.record.arm.wanted


def test_it_refuses_an_id_that_is_taken_and_a_schedule_that_never_fires() -> None:
    world = World(job_of())
    with pytest.raises(JobExists):
        world.apply(change.create, job=job_of())
    with pytest.raises(ScheduleError):
        World(job_of(Schedule("once", NOON.isoformat())))


def test_an_edit_that_does_not_move_the_schedule_leaves_fires_and_retries_alone() -> None:
    world = due(max_attempts=2, backoff=60)
    world.ran(RunState.FAILED)
    before = (world.job.next_fire_at, world.record.entries)
    world.edit(overlap="queue", repeat=9)
    assert (world.job.next_fire_at, world.record.entries) == before
    assert (world.job.revision, world.job.scheduled_in) == (2, 1)


def test_an_edit_that_moves_the_schedule_settles_what_is_due_waiting_or_to_be_retried() -> None:
    world = due(max_attempts=2, backoff=60, overlap="queue")
    world.ran(RunState.FAILED)
    world.apply(change.run_now, uuid="1")
    world.now += 2 * QUARTER
    world.edit(replace(world.job, schedule=HALF_HOURLY))
    assert world.states() == {
        "12:15:00": "failed", "12:30:00": "skipped", "manual:1": "waiting",
    }  # fmt: skip
    assert world.job.next_fire_at == world.now + 2 * QUARTER
    assert world.job.scheduled_in == world.job.revision == 2


def test_an_edit_from_a_to_b_to_a_ends_at_a() -> None:
    world = World(job_of())
    world.edit(replace(world.job, schedule=HALF_HOURLY))
    world.edit(replace(world.job, schedule=job_of().schedule))
    assert world.record.arm.wake_at == world.job.next_fire_at == NOON + QUARTER


def test_an_edit_of_a_revision_that_is_past_is_refused() -> None:
    world = World(job_of())
    world.edit(timeout=5)
    with pytest.raises(JobStateError, match="revision 2"):
        world.apply(change.edit, job=world.job, if_revision=1)


def test_a_live_run_keeps_what_it_was_claimed_with() -> None:
    world = due()
    run = world.begun()
    world.edit(replace(world.job, task="app.other", args={"x": 1}), timeout=9)
    held = world.record.run(run.id)
    assert held is not None
    assert (held.task, held.args, held.timeout) == ("app.task", {}, None)


def test_i14_repeat_lowered_to_what_is_counted_completes_the_job_and_raised_revives_it() -> None:
    world = World(job_of())
    for _ in range(2):
        world.now += QUARTER
        world.ran()
    world.edit(repeat=2)
    assert (world.job.state, world.record.arm.wake_at) == (JobState.COMPLETED, None)
    world.edit(repeat=3)
    assert (world.job.state, world.job.next_fire_at) == (JobState.SCHEDULED, world.now + QUARTER)
    world.now += QUARTER
    world.ran()
    assert (world.job.state, world.job.counted) == (JobState.COMPLETED, 3)


def test_a_one_shot_moved_during_its_run_runs_again() -> None:
    world = World(job_of(Schedule("once", (NOON + HOUR).isoformat())))
    world.now += HOUR
    run = world.begun()
    world.edit(replace(world.job, schedule=Schedule("once", (NOON + 2 * HOUR).isoformat())))
    world.complete(run)
    world.now += HOUR
    assert world.ran().fire_at == NOON + 2 * HOUR
    assert world.job.state is JobState.COMPLETED


def test_pause_settles_what_is_due_and_resume_counts_from_now() -> None:
    world = due()
    world.apply(change.pause, reason="too loud")
    assert (world.states(), world.job.reason) == ({"12:15:00": "skipped"}, "too loud")
    assert world.record.arm.wake_at is None
    world.now += DAY
    world.apply(change.resume)
    assert world.states() == {"12:15:00": "skipped"}
    assert (world.job.next_fire_at, world.job.reason) == (world.now + QUARTER, "")


@pytest.mark.parametrize(("how", "scheduled"), [(change.pause, "skipped"), (change.remove, "cancelled")])
def test_a_pause_and_a_removal_settle_waiting_fires(how: object, scheduled: str) -> None:
    world = due(overlap="queue")
    run = world.begun()
    world.now += QUARTER
    world.renew(run)
    world.claim()
    world.apply(change.run_now, uuid="1")
    world.apply(how)  # type: ignore[arg-type]  # loosely typed, as tests are.
    assert world.states() == {"12:15:00": "running", "12:30:00": scheduled, "manual:1": "cancelled"}


@pytest.mark.parametrize("how", [change.pause, change.remove])
def test_a_pause_and_a_removal_end_a_retry_as_failed(how: object) -> None:
    world = due(max_attempts=2, backoff=60)
    world.ran(RunState.FAILED)
    world.apply(how)  # type: ignore[arg-type]  # loosely typed, as tests are.
    assert world.states() == {"12:15:00": "failed"}


def test_pausing_twice_keeps_the_reason_and_resuming_twice_changes_nothing() -> None:
    world = World(job_of())
    world.apply(change.pause, reason="because")
    world.apply(change.pause)
    assert world.job.reason == "because"
    world.apply(change.resume)
    before = world.record
    world.apply(change.resume)
    assert world.record == before


def test_a_one_shot_whose_time_passed_in_its_pause_is_not_resumed() -> None:
    world = World(job_of(Schedule("once", (NOON + HOUR).isoformat())))
    world.apply(change.pause)
    world.now += 2 * HOUR
    with pytest.raises(JobStateError, match="no fire left"):
        world.apply(change.resume)


@pytest.mark.parametrize("state", ["paused", "completed", "stopped", "gone"])
def test_a_manual_run_is_refused_of_what_may_not_run(state: str) -> None:
    world = due(repeat=1)
    if state == "paused":
        world.apply(change.pause)
    elif state == "completed":
        world.ran()
    elif state == "gone":
        world.apply(change.remove)
    world.stopped = state == "stopped"
    with pytest.raises(JobNotFound if state == "gone" else JobStateError) as refused:
        world.apply(change.run_now, uuid="1")
    assert state == "gone" or refused.value.hint, "what would let it run"


def test_a_removed_job_goes_when_it_is_disarmed_and_its_fence_never_falls() -> None:
    world = due()
    disarmed(world)
    fence = world.ran().fence
    world.apply(change.remove)
    assert not world.record.known
    assert world.record.job is not None
    world.now += SECOND
    disarmed(world)
    assert world.record.blank
    world.apply(change.create, job=job_of())
    world.now += QUARTER
    assert world.claimed().fence > fence


def test_a_removed_job_that_was_never_armed_goes_at_once_or_with_its_last_run() -> None:
    world = World(job_of())
    world.now += SECOND
    world.apply(change.remove)
    assert world.record.blank
    world = due()
    run = world.begun()
    world.apply(change.remove)
    assert world.record.arm.wake_at == run.guard_at
    world.complete(run)
    assert world.record.blank
    assert world.states() == {"12:15:00": "succeeded"}


def test_an_id_added_again_before_its_last_run_has_ended_keeps_the_fence() -> None:
    world = due()
    run = world.begun()
    world.apply(change.remove)
    world.apply(change.create, job=job_of())
    assert (world.job.fence, world.job.counted, world.job.state) == (run.fence, 0, JobState.SCHEDULED)


def test_the_fence_does_not_fall_even_where_time_stands_still() -> None:
    world = World(job_of())
    world.apply(change.run_now, uuid="1")
    world.ran()
    world.apply(change.remove)
    world.apply(change.create, job=job_of())
    world.apply(change.run_now, uuid="2")
    assert world.ran().attempt == 1


def test_i15_a_stop_lets_live_runs_go_on_and_its_end_skips_what_came_due() -> None:
    world = due(overlap="queue", max_attempts=2, backoff=1)
    run = world.begun()
    world.stopped = True
    world.now += QUARTER
    assert not isinstance(world.renew(run), Lost)
    assert world.claim().reason == "stopped"
    world.complete(run, RunState.FAILED)
    world.now += QUARTER
    world.apply(change.after_stop)
    world.stopped = False
    assert world.states() == {"12:15:00": "failed", "12:30:00": "skipped"}
    assert world.job.next_fire_at == world.now + QUARTER


def test_what_waited_before_a_stop_waits_on_through_it() -> None:
    world = World(job_of())
    world.apply(change.run_now, uuid="1")
    world.stopped = True
    world.now += SECOND
    world.apply(change.after_stop)
    world.stopped = False
    assert world.claimed().key == "manual:1"


def test_cancelling_asks_the_body_to_stop_and_keeps_the_first_reason() -> None:
    world = due()
    run = world.begun()
    world.apply(change.cancel_run, run_id=run.id, reason="by hand")
    world.apply(change.cancel_run, run_id=run.id, reason="again")
    held = world.renew(run)
    assert not isinstance(held, Lost)
    assert held.cancel == "by hand"
    with pytest.raises(RunNotFound):
        world.apply(change.cancel_run, run_id="a:0")


def test_jitter_spreads_jobs_that_were_made_together() -> None:
    offsets = set()
    for job_id in "abcdef":
        world = World()
        world.record = replace(world.record, job_id=job_id)
        world.apply(change.create, job=replace(job_of(jitter=600), id=job_id))
        assert world.job.next_fire_at is not None
        offset = world.job.next_fire_at - (NOON + QUARTER)
        assert timedelta(0) <= offset < timedelta(seconds=600)
        offsets.add(offset)
        world.now = world.job.next_fire_at
        world.ran()
        assert world.job.next_fire_at == NOON + 2 * QUARTER + offset
    assert len(offsets) == 6
