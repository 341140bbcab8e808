"""The claim, in the order of its steps: take-over, refusals, retries, waiting fires, due fires, nothing due."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hermes_cron.contract import EARLY_S
from hermes_cron.job import JobState
from hermes_cron.rules import change
from hermes_cron.rules.progress import Ended, Lost
from hermes_cron.run import RunState
from hermes_cron.schedule import Schedule
from tests.unit.rules.world import DAY, HOUR, LEASE, MINUTE, NOON, SECOND, World, job_of

QUARTER = 15 * MINUTE
AT_NINE = datetime(2026, 7, 2, 9, tzinfo=UTC)
AT_SIX = datetime(2026, 7, 2, 18, tzinfo=UTC)


def once(at: datetime) -> Schedule:
    return Schedule("once", at.isoformat())


def due(misfire: str = "run_latest", after: timedelta = QUARTER, **policies: object) -> World:
    """A world in which fires are due that many minutes after noon, one each quarter of an hour."""
    world = World(job_of(misfire=misfire, **policies))
    world.now += after
    return world


def test_a_due_fire_is_granted_and_the_next_one_set() -> None:
    world = due()
    run = world.claimed(world.now)
    assert (run.job_id, run.fire_at, run.attempt, run.state) == ("a", NOON + QUARTER, 1, RunState.CLAIMED)
    assert run.lease_until == world.now + LEASE
    assert world.job.next_fire_at == NOON + 2 * QUARTER
    assert world.job.fence == run.fence


def test_i5_a_second_claim_of_the_same_fire_is_a_duplicate() -> None:
    world = due()
    world.claimed(world.now)
    assert world.claim(world.now).reason == "duplicate"
    assert world.claim().reason == "nothing due"


def test_i13_a_fire_that_has_its_outcome_is_a_duplicate() -> None:
    world = due()
    fire_at = world.now
    world.complete(world.begun(fire_at))
    world.now += MINUTE
    before = world.record
    assert world.claim(fire_at).reason == "duplicate"
    assert replace(world.record, arm=before.arm) == before


def test_i13_a_stale_fire_changes_nothing_but_the_arm() -> None:
    world = due(after=MINUTE)
    before = world.record
    assert world.claim(NOON - HOUR).reason == "stale"
    assert replace(world.record, arm=before.arm) == before
    assert not world.record.arm.known
    assert world.record.arm.wanted


@pytest.mark.parametrize("ahead", [0.001, 1.0, float(EARLY_S)])
def test_i13_a_fire_a_minute_early_waits_undecided(ahead: float) -> None:
    world = World(job_of())
    world.now = NOON + QUARTER - timedelta(seconds=ahead)
    before = world.record
    assert world.claim(NOON + QUARTER).wait == pytest.approx(ahead)
    assert world.record == before
    world.now = NOON + QUARTER
    assert world.claimed(NOON + QUARTER).fire_at == NOON + QUARTER


def test_i13_a_fire_more_than_a_minute_early_is_refused_and_armed_anew() -> None:
    world = World(job_of())
    claim = world.claim(NOON + QUARTER)
    assert (claim.reason, claim.run, claim.wait) == ("early", None, None)
    assert world.record.arm.wanted


def test_a_one_shot_moved_from_nine_to_six_does_not_run_at_nine() -> None:
    world = World(job_of(once(AT_NINE)))
    world.edit(replace(world.job, schedule=once(AT_SIX)))
    world.now = AT_NINE
    assert world.claim(AT_NINE).reason == "stale"
    world.now = AT_SIX
    assert world.claimed(AT_SIX).fire_at == AT_SIX


def test_a_one_shot_moved_after_it_came_due_does_not_run_at_nine_either() -> None:
    world = World(job_of(once(AT_NINE)))
    world.now = AT_NINE + SECOND
    world.edit(replace(world.job, schedule=once(AT_SIX)))
    assert world.claim(AT_NINE).reason == "stale"
    assert world.states() == {"09:00:00": "skipped"}
    world.now = AT_SIX
    assert world.claimed(AT_SIX).fire_at == AT_SIX


@pytest.mark.parametrize(
    ("misfire", "late", "expected"),
    [
        ("run_latest", 60, {"12:15:00": "missed", "13:00:00": "running"}),
        ("run_latest", 70, {"12:15:00": "missed", "13:00:00": "running"}),
        ("skip", 61, {"12:15:00": "missed", "13:00:00": "running"}),
        ("run_all(2)", 60, {"12:15:00": "missed", "12:45:00": "running", "13:00:00": "waiting"}),
        ("run_all(9)", 60, {"12:15:00": "missed", "12:45:00": "running", "13:00:00": "waiting"}),
    ],
)
def test_it_decides_all_late_fires_by_the_misfire_policy(misfire: str, late: int, expected: dict[str, str]) -> None:
    world = due(misfire, after=late * MINUTE)
    world.claimed()
    assert world.states() | expected == world.states()
    assert set(world.states().values()) == set(expected.values())


def test_skip_runs_nothing_that_is_over_a_minute_late() -> None:
    world = due("skip", after=QUARTER + 61 * SECOND)
    assert world.claim().run is None
    assert world.states() == {"12:15:00": "missed"}


def test_grace_bounds_what_may_still_run_and_one_row_tells_of_adjacent_fires() -> None:
    world = due(grace=60, after=4 * QUARTER + 2 * MINUTE)
    assert world.claim().run is None
    row = world.ledger[(NOON + QUARTER).isoformat()]
    assert (row.fire_at, row.last_at, row.count) == (NOON + QUARTER, NOON + HOUR, 4)
    assert world.job.next_fire_at == NOON + 5 * QUARTER


def test_a_late_one_shot_runs_within_a_day_and_is_missed_after() -> None:
    world = World(job_of(once(AT_NINE)))
    world.now = AT_NINE + 23 * HOUR
    assert world.claimed().fire_at == AT_NINE
    world = World(job_of(once(AT_NINE)))
    world.now = AT_NINE + 25 * HOUR
    assert world.claim().run is None
    assert world.states() == {"09:00:00": "missed"}
    assert world.job.state is JobState.COMPLETED


def test_run_all_runs_one_after_another_oldest_first() -> None:
    world = due("run_all(3)", grace=7200, after=HOUR)
    ran = []
    while (run := world.claim().run) is not None:
        assert world.claim().run is None
        world.begin(run)
        world.complete(run)
        ran.append(f"{run.fire_at:%H:%M}")
    assert ran == ["12:30", "12:45", "13:00"]


@pytest.mark.parametrize(
    ("overlap", "second", "third"),
    [
        ("skip", "skipped", "skipped"),
        ("queue", "waiting", "skipped"),
        ("allow", "running", "running"),
        ("replace", "skipped", "waiting"),
    ],
)
def test_it_treats_fires_beside_a_live_run_by_the_overlap_policy(overlap: str, second: str, third: str) -> None:
    world = due(overlap=overlap)
    first = world.begun()
    for _ in range(2):
        world.now += QUARTER
        world.renew(first)
        for run in world.record.open_runs:
            world.renew(run)
        world.claim()
    assert world.states() == {"12:15:00": "running", "12:30:00": second, "12:45:00": third}
    asked = world.renew(first)
    assert not isinstance(asked, Lost)
    assert asked.cancel == ("replaced" if overlap == "replace" else "")


def test_a_queued_fire_runs_when_the_run_before_it_has_ended() -> None:
    world = due(overlap="queue")
    first = world.begun()
    world.now += QUARTER
    world.renew(first)
    assert world.claim().run is None
    assert world.complete(first) == Ended(written=True, ring=True)
    assert world.claimed().fire_at == NOON + 2 * QUARTER


def test_a_manual_run_beside_a_scheduled_one_queues_both_ways() -> None:
    world = World(job_of(overlap="skip"))
    world.apply(change.run_now, uuid="1")
    manual = world.begun()
    assert manual.manual
    world.now += QUARTER
    world.renew(manual)
    assert world.claim().run is None
    world.complete(manual)
    scheduled = world.begun()
    assert (scheduled.manual, scheduled.fire_at) == (False, NOON + QUARTER)
    world.apply(change.run_now, uuid="2")
    assert world.claim().run is None
    world.complete(scheduled)
    assert world.begun().key == "manual:2"


def test_a_manual_run_five_seconds_before_the_slot_does_not_take_its_place() -> None:
    world = World(job_of())
    world.now = NOON + QUARTER - 5 * SECOND
    world.apply(change.run_now, uuid="1")
    world.ran()
    world.now = NOON + QUARTER
    assert world.claimed(world.now).fire_at == NOON + QUARTER


def test_i6_a_dead_run_is_taken_over_under_a_higher_fence() -> None:
    world = due()
    dead = world.begun()
    world.now += LEASE
    run = world.claimed()
    assert (run.key, run.attempt, run.fence) == (dead.key, 2, dead.fence + 1)
    assert world.ended[dead.id].state is RunState.ABANDONED
    assert world.complete(dead) == Ended(written=False)
    assert isinstance(world.renew(dead), Lost)
    assert isinstance(world.begin(dead), Lost)


def test_reruns_are_bounded_and_then_the_fire_is_interrupted() -> None:
    world = due(reruns=2)
    for attempt in (1, 2, 3):
        assert world.begun().attempt == attempt
        world.now += LEASE
    assert world.claim().run is None
    assert world.states() == {"12:15:00": "interrupted"}
    assert world.job.failures_in_row == 0


def test_a_dead_run_of_a_paused_job_is_interrupted() -> None:
    world = due()
    world.begun()
    world.apply(change.pause)
    world.now += LEASE
    assert world.claim().reason == "paused"
    assert world.states() == {"12:15:00": "interrupted"}


def test_a_dead_run_is_left_alone_while_everything_is_stopped() -> None:
    world = due()
    dead = world.begun()
    world.stopped = True
    world.now += LEASE
    assert world.claim().reason == "stopped"
    assert world.record.run(dead.id) is not None
    world.apply(change.after_stop)
    world.stopped = False
    assert world.claimed().attempt == 2


def test_a_run_that_was_told_to_stop_is_not_run_again_when_its_worker_dies() -> None:
    world = due(overlap="replace")
    world.begun()
    world.now += QUARTER - SECOND
    for run in world.record.open_runs:
        world.renew(run)
    world.now += SECOND
    assert world.claim().run is None
    world.now += LEASE
    assert world.claimed().fire_at == NOON + 2 * QUARTER
    assert world.states()["12:15:00"] == "cancelled"


def test_an_expired_lease_that_nobody_took_may_be_renewed_and_completed() -> None:
    world = due()
    run = world.begun()
    world.now += 2 * LEASE
    assert not isinstance(world.renew(run), Lost)
    world.now += 2 * LEASE
    assert world.complete(run) == Ended(written=True)


@pytest.mark.parametrize("what", ["paused", "completed", "gone", "stopped", "unknown"])
def test_i15_nothing_is_granted_of_a_closed_job(what: str) -> None:
    world = due(repeat=1, after=timedelta(0)) if what != "unknown" else World()
    if what == "paused":
        world.apply(change.pause)
    elif what == "gone":
        world.apply(change.remove)
    elif what == "completed":
        world.now += QUARTER
        world.ran()
    world.stopped = what == "stopped"
    world.now += QUARTER
    assert world.claim(world.now).reason == {"unknown": "gone"}.get(what, what)
    assert world.record.open_runs == ()


@pytest.mark.parametrize(
    ("zone", "base", "expected"),
    [
        ("Europe/Lisbon", datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
        ("Europe/Lisbon", datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_fixed_time_in_a_clock_change_runs_once(zone: str, base: datetime, expected: datetime) -> None:
    world = World(job_of(Schedule("cron", "30 1 * * *", zone)), base)
    assert world.job.next_fire_at == expected
    world.now = expected
    assert world.ran().fire_at == expected
    assert world.job.next_fire_at is not None
    assert world.job.next_fire_at - expected > 22 * HOUR
    world.now += 2 * HOUR
    assert world.claim(expected).reason == "duplicate"


def test_a_claim_after_a_long_sleep_looks_at_no_fire_one_by_one() -> None:
    world = World(job_of(Schedule("every", "every 1s"), grace=0))
    world.record = replace(world.record, job=replace(world.job, next_fire_at=NOON - 365 * DAY))
    before = world.record.job
    world._check_due = lambda record: None  # type: ignore[method-assign]  # It would look at each of them.
    assert world.claim().run is not None
    assert before is not None
    assert len(world.ledger) == 1
