"""A run whose process died while its worker lives: as if the worker had died, only that nobody has to wait for it."""

from __future__ import annotations

import pytest

from hermes_cron.ledger import FireState
from hermes_cron.rules import change
from hermes_cron.rules.progress import Ended
from hermes_cron.run import Run, RunState
from tests.unit.rules.world import LEASE, MINUTE, World, job_of


def begun(**policies: object) -> tuple[World, Run]:
    """A world in which a run of the fire of 12:15 has begun."""
    world = World(job_of(**policies))
    world.now += 15 * MINUTE
    return world, world.begun()


def test_the_fire_is_run_again_at_once_and_does_not_count_as_failed() -> None:
    world, run = begun(max_attempts=3)
    assert world.died(run) == Ended(written=True, ring=True)
    assert (world.ended[run.id].state, world.ended[run.id].error) == (
        RunState.ABANDONED, "its process was killed by SIGSEGV",
    )  # fmt: skip
    entry = world.record.entries[0]
    assert (entry.state, entry.deaths, entry.failures) == (FireState.WAITING, 1, 0)
    assert world.record.arm.wake_at == world.now
    again = world.claimed()
    assert (again.key, again.attempt, again.fence) == (run.key, 2, run.fence + 1)


@pytest.mark.parametrize("reruns", [0, 1, 3])
def test_it_is_interrupted_after_its_reruns(reruns: int) -> None:
    world, run = begun(reruns=reruns, pause_on_failure=1)
    for _ in range(reruns):
        world.died(run)
        run = world.begun()
    assert world.died(run) == Ended(written=True)
    assert world.states() == {"12:15:00": "interrupted"}
    assert next(iter(world.ledger.values())).reason == "its process was killed by SIGSEGV"
    assert world.job.failures_in_row == 0


def test_deaths_of_its_process_and_of_its_worker_are_counted_together() -> None:
    world, run = begun(reruns=1)
    world.died(run)
    world.begun()
    world.now += LEASE
    assert world.claim().run is None
    assert world.states() == {"12:15:00": "interrupted"}


def test_i6_a_run_that_was_taken_over_writes_nothing() -> None:
    world, run = begun()
    world.now += LEASE
    world.claimed()
    before = world.record
    assert world.died(run) == Ended(written=False)
    assert world.record == before


@pytest.mark.parametrize(
    ("what", "outcome"), [("cancel", "cancelled"), ("pause", "interrupted"), ("remove", "interrupted")]
)
def test_i15_it_is_not_run_again_where_nothing_may_start(what: str, outcome: str) -> None:
    world, run = begun()
    if what == "cancel":
        world.apply(change.cancel_run, run_id=run.id)
    else:
        world.apply(change.pause if what == "pause" else change.remove)
    assert world.died(run) == Ended(written=True)
    assert world.ledger[run.key].state == outcome


def test_while_everything_is_stopped_it_waits_for_the_start() -> None:
    world, run = begun()
    world.stopped = True
    assert world.died(run) == Ended(written=True)
    assert world.record.entries[0].state is FireState.WAITING
    assert world.claim().run is None
