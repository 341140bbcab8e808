"""Changes, and the ladder that follows them."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from hermes_cron.clock import instant_text, utc_now
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.job import Job
from hermes_cron.providers.chronos.ladder import Ladder
from hermes_cron.record import Moment, Record
from hermes_cron.rules import arms, change
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.schedule import Schedule
from hermes_cron.store import open_store
from tests.unit.parts import ends_within
from tests.unit.providers.conftest import LADDER, Make, add
from tests.unit.providers.nas import Nas, instants

SENTINELS = {"_wake.1", "_wake.2", "_wake.3", "_wake.4"}
HOUR = timedelta(hours=1)
MOMENT = timedelta(seconds=60)
"""Longer than a busy machine takes, and shorter than what a ladder that is counted otherwise would be off by."""


def test_it_arms_a_new_job_and_the_ladder_before_it_answers(nas: Nas, store: Store, make: Make) -> None:
    chronos = make(ladder=LADDER)
    wake = add(store, "a").next_fire_at
    assert wake
    assert chronos.on_jobs_changed(["a"]) == []
    held = instants(nas)
    assert held.pop("a") == wake
    rungs = [timedelta(seconds=rung) for rung in LADDER]
    assert [abs(held[f"_wake.{n}"] - wake - rung) < MOMENT for n, rung in enumerate(rungs, 1)] == [True] * 4
    assert store.load(0).wanted_arms == 0


def test_it_cancels_the_ladder_when_no_job_has_a_wake(nas: Nas, store: Store, make: Make) -> None:
    chronos = make(ladder=LADDER)
    add(store, "a")
    chronos.on_jobs_changed(["a"])
    store.change("a", change.remove)
    assert chronos.on_jobs_changed(["a"]) == []
    assert nas.armed == {}
    assert store.arms() == []


def test_it_cancels_the_ladder_while_everything_is_stopped(nas: Nas, store: Store, make: Make) -> None:
    chronos = make(ladder=LADDER)
    add(store, "a")
    chronos.on_jobs_changed(["a"])
    store.set_stopped(True)
    assert chronos.on_jobs_changed([]) == []
    assert set(nas.armed) == {"a"}
    store.set_stopped(False)
    assert chronos.on_jobs_changed([]) == []
    assert set(nas.armed) == {"a"} | SENTINELS


def test_it_moves_only_rungs_that_moved_by_more_than_a_tenth(nas: Nas, store: Store, make: Make) -> None:
    chronos = make(ladder=LADDER)
    add(store, "far", "every 1d")
    chronos.on_jobs_changed(["far"])
    before = instants(nas)
    add(store, "near", "every 20h")
    chronos.on_jobs_changed(["near"])
    moved = {job_id for job_id, at in instants(nas).items() if at != before.get(job_id)}
    assert moved == {"near", "_wake.1", "_wake.2", "_wake.3"}


def test_it_cuts_the_ladder_to_the_horizon_of_nas(nas: Nas, store: Store, make: Make) -> None:
    nas.capabilities = {"max_horizon_s": 12 * 3600}
    chronos = make(ladder=LADDER)
    add(store, "a", "every 1h")
    chronos.reconcile(full=True)
    assert all(at <= store.now() + 12 * HOUR for at in instants(nas).values())
    chronos.on_jobs_changed([])
    assert store.load(0).wanted_arms == 0
    assert set(nas.armed) == {"a"} | SENTINELS


def test_it_counts_the_ladder_from_now_while_a_job_is_overdue(tmp_path: Path) -> None:
    ahead = [timedelta(0)]
    store = open_store(f"sqlite:///{tmp_path}/overdue.db", clock=lambda: utc_now() + ahead[0])
    add(store, "a")
    ahead[0] = HOUR
    assert Ladder(LADDER).push(store, None) == ["_wake.1", "_wake.2", "_wake.3", "_wake.4"]
    record = store.read("_wake.1")
    assert record
    assert record.arm.wake_at
    assert abs(record.arm.wake_at - store.now() - timedelta(seconds=900)) < MOMENT
    store.close()


def test_it_arms_a_rung_that_fired_anew(nas: Nas, store: Store, make: Make) -> None:
    chronos = make(ladder=LADDER)
    add(store, "a")
    chronos.on_jobs_changed(["a"])
    record = store.read("_wake.1")
    assert record
    store.change("_wake.1", partial(claim, fire=Fire("_wake.1", record.arm.wake_at), claimer=Claimer("w", HOUR)))
    del nas.armed["_wake.1"]
    assert chronos.on_jobs_changed([]) == []
    assert "_wake.1" in nas.armed


def test_it_cancels_rungs_that_are_no_longer_configured(nas: Nas, store: Store, make: Make) -> None:
    add(store, "a")
    make(ladder=LADDER).on_jobs_changed(["a"])
    shorter = make(ladder=LADDER[:1])
    shorter.start(store, None)  # type: ignore[arg-type]  # loosely typed, as tests are.
    assert set(nas.armed) == {"a", "_wake.1"}


def test_it_says_what_is_still_wanted_within_three_seconds_when_nas_hangs(nas: Nas, store: Store, make: Make) -> None:
    over = threading.Event()
    nas.misbehave = lambda call: over.wait(90) and None
    chronos = make(ladder=LADDER)
    names = iter("abcde")

    def change_one() -> None:
        name = next(names)
        add(store, name)
        assert set(chronos.on_jobs_changed([name])) == {name} | SENTINELS

    # To ask what NAS can do and then to call it would take four and a half, each in its own time.
    assert ends_within(4, change_one)
    over.set()


def created_and_armed(record: Record, moment: Moment, *, job: Job) -> tuple[Record, bool]:
    record, _ = change.create(record, moment, job=job)
    record, order = arms.lease(record, moment, token="t")
    assert order
    return arms.confirm(record, moment, order=order)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with 1,200 jobs, in a folder: more than one page of NAS's list, and than a batch takes."""
    folder: Path = tmp_path_factory.mktemp("crowd")
    store = open_store(f"sqlite:///{folder}/crowd.db")
    schedule = Schedule.parse("every 1h", now=store.now())
    for number in range(1200):
        job = Job(id=f"j{number}", task="t", schedule=schedule)
        store.change(job.id, partial(created_and_armed, job=job))
    store.close()
    return folder


@pytest.mark.timeout(900)  # Each of the jobs is a commit of its own, which a busy disk takes its time for.
@pytest.mark.parametrize("batch", [True, False])
def test_it_makes_a_constant_number_of_calls_for_a_change_among_many_jobs(
    nas: Nas, crowd: Path, make: Make, batch: bool
) -> None:
    store = open_store(f"sqlite:///{crowd}/crowd.db")
    chronos = make(ladder=LADDER)
    chronos.attach(store)
    nas.armed = {r.job_id: instant_text(r.arm.armed_at) for r in store.arms() if r.arm.armed_at}
    chronos.on_jobs_changed([])
    assert store.load(0).wanted_arms == 0
    nas.batch = batch
    nas.calls.clear()
    store.change(f"j{int(batch)}", change.pause)
    assert chronos.on_jobs_changed([f"j{int(batch)}"]) == []
    assert len(nas.calls) <= 6
    # And a cold process finds that NAS holds all of it.
    nas.calls.clear()
    cold = make(ladder=LADDER)
    cold.attach(store)
    done = cold.reconcile(full=True)
    assert (done.armed, done.disarmed, done.orphans, done.wanted) == ((), (), (), ())
    assert nas.provisions() == []
    store.close()
