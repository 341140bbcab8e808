"""The ticker that is always there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from hermes_cron.errors import BrokerError, StoreError
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.job import Job
from hermes_cron.policy import Policy
from hermes_cron.providers.builtin import READ_AGAIN_S, InProcessCronScheduler, _Ticker
from hermes_cron.rules import arms, change
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.schedule import Schedule
from hermes_cron.store import open_store
from tests.unit.parts import FakeClock, ends_within
from tests.unit.providers.conftest import add
from tests.unit.providers.nas import until


class Bell:
    """A broker that keeps what it is given, and when."""

    def __init__(self) -> None:
        self.rung: list[tuple[Fire, float]] = []
        self.down = False

    def enqueue(self, fire: Fire) -> None:
        if self.down:
            raise BrokerError("The queue is away.")
        self.rung.append((fire, time.monotonic()))

    def consume(self, handle: object, free: object, stop: object) -> None: ...

    def depth(self) -> int | None:
        return 0

    def close(self) -> None: ...

    def fires(self) -> list[tuple[str, datetime | None]]:
        return [(fire.job_id, fire.fire_at) for fire, _ in self.rung]


class Lost:
    """A store that cannot be reached for a while, or one row of which cannot be read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.lost = False
        self.bad = ""

    def __getattr__(self, name: str) -> object:
        if self.lost:
            raise StoreError("The store is away.")
        return self._read if name == "read" and self.bad else getattr(self._store, name)

    def _read(self, job_id: str) -> object:
        if job_id == self.bad:
            raise StoreError("A row cannot be read.")
        return self._store.read(job_id)


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def start() -> Iterator[Callable[..., InProcessCronScheduler]]:
    started: list[InProcessCronScheduler] = []

    def make(store: object, bell: Bell) -> InProcessCronScheduler:
        scheduler = InProcessCronScheduler()
        scheduler.start(store, bell)  # type: ignore[arg-type]  # loosely typed, as tests are.
        started.append(scheduler)
        return scheduler

    yield make
    for scheduler in started:
        scheduler.stop()


def soon(store: Store, job_id: str, seconds: float = 1.5) -> datetime:
    """A one-shot that is due in so many seconds."""
    at = store.now() + timedelta(seconds=seconds)
    assert add(store, job_id, at.isoformat()).next_fire_at == at
    return at


def test_it_rings_at_the_instant_and_once(store: Store, bell: Bell, start: Callable[..., object]) -> None:
    start(store, bell)
    began = time.monotonic()
    at = soon(store, "a", 1.5)
    assert until(lambda: bool(bell.rung))
    assert bell.rung[0][1] - began > 1.48
    time.sleep(1.5)
    assert bell.fires() == [("a", at)]
    assert bell.rung[0][0].kind == "fire"


def test_it_sleeps_until_the_next_wake_and_looks_again_every_second(tmp_path: Path, bell: Bell) -> None:
    clock = FakeClock()
    store = open_store(f"sqlite:///{tmp_path}/still.db", clock=clock)
    ticker = _Ticker(store, bell)
    assert ticker._look() == READ_AGAIN_S == 1
    at = soon(store, "a", 3.25)
    for pause in (1, 1, 1, 0.25):
        assert ticker._look() == pause
        assert bell.fires() == []
        clock.advance(pause)
    assert ticker._look() == 1
    assert bell.fires() == [("a", at)]
    store.close()


def test_it_notices_a_nearer_wake_by_a_nudge(store: Store, bell: Bell) -> None:
    scheduler = InProcessCronScheduler()
    scheduler.start(store, bell)  # type: ignore[arg-type]  # loosely typed, as tests are.
    add(store, "far", "every 1d")
    names = iter("abcdefghij")

    def ring() -> None:
        name = next(names)
        add(store, name)
        store.change(name, partial(change.run_now, uuid="u"))
        assert scheduler.on_jobs_changed([name]) == ()
        assert until(lambda: [job_id for job_id, _ in bell.fires()][-1:] == [name])

    # Each begins where the ticker has just looked: without the nudge it would sleep for a second.
    assert ends_within(READ_AGAIN_S / 2, ring, tries=10)
    scheduler.stop()
    scheduler.stop()


def test_it_rings_each_instant_of_a_job(store: Store, bell: Bell, start: Callable[..., object]) -> None:
    start(store, bell)
    store.change("a", partial(change.create, job=add_second(store)))
    claimer = Claimer("w", timedelta(seconds=30))
    for count in range(1, 3):
        assert until(lambda count=count: len(bell.rung) >= count)
        store.change("a", partial(claim, fire=bell.rung[-1][0], claimer=claimer))
    assert len(set(bell.fires())) == len(bell.fires())


def add_second(store: Store) -> Job:
    return Job(id="a", task="t", schedule=Schedule.parse("every 1s", now=store.now()), policy=Policy(overlap="allow"))


def test_it_rings_what_is_overdue_at_start(store: Store, bell: Bell, start: Callable[..., object]) -> None:
    add(store, "a")
    store.change("a", partial(change.run_now, uuid="u"))
    start(store, bell)
    assert until(lambda: [name for name, _ in bell.fires()] == ["a"])


def test_it_goes_on_after_the_queue_was_away(
    store: Store, bell: Bell, start: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    bell.down = True
    start(store, bell)
    at = soon(store, "a")
    assert until(lambda: "cannot do its work" in caplog.text)
    time.sleep(1.2)
    bell.down = False
    assert until(lambda: bell.fires() == [("a", at)])
    assert sum("cannot do its work" in message for message in caplog.messages) == 1


def test_it_goes_on_after_the_store_was_away(
    store: Store, bell: Bell, start: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    away = Lost(store)
    away.lost = True
    scheduler = start(away, bell)
    assert isinstance(scheduler, InProcessCronScheduler)
    assert scheduler.arm("a", 1)
    assert until(lambda: "cannot do its work" in caplog.text)
    time.sleep(0.6)
    away.lost = False
    at = soon(store, "a")
    assert until(lambda: bell.fires() == [("a", at)])
    assert sum("cannot do its work" in message for message in caplog.messages) == 1


def test_i17_a_row_that_cannot_be_read_harms_no_other_job(
    store: Store, bell: Bell, start: Callable[..., object]
) -> None:
    one = Lost(store)
    one.bad = "a"
    start(one, bell)
    soon(store, "a")
    at = soon(store, "b")
    assert until(lambda: bell.fires() == [("b", at)])


def test_it_may_run_twice_in_one_place(store: Store, bell: Bell, start: Callable[..., object]) -> None:
    start(store, bell)
    start(store, bell)
    at = soon(store, "a")
    assert until(lambda: bell.fires() == [("a", at)] * 2)


def test_it_confirms_no_alarm(store: Store) -> None:
    scheduler = InProcessCronScheduler()
    scheduler.attach(store)
    add(store, "a")
    assert scheduler.arm("a", 1)
    assert scheduler.on_jobs_changed(["a"]) == ()
    assert store.load(0).wanted_arms == 1
    record = store.read("a")
    assert record
    assert record.arm.owner is None
    assert scheduler.confirms is False
    assert scheduler.held() is None


def test_it_confirms_that_nothing_is_held_so_that_a_removed_job_goes(store: Store) -> None:
    scheduler = InProcessCronScheduler()
    scheduler.attach(store)
    wake = add(store, "a").next_fire_at
    store.change("a", partial(claim, fire=Fire("a", wake), claimer=Claimer("w", timedelta(seconds=30))))
    add(store, "b")
    store.change("a", change.remove)
    scheduler.on_jobs_changed(["a"])
    assert store.read("a") is None
    assert store.load(0).wanted_arms == 1


def test_it_reconciles_what_another_provider_left_wanted(store: Store) -> None:
    add(store, "a")
    store.change("a", change.pause)
    for name in ("a", "ghost", "_wake.1"):
        store.change(name, arms.forget)
    store.change("_wake.2", partial(arms.push, wake_at=store.now() + timedelta(hours=1), slack=timedelta(0)))
    scheduler = InProcessCronScheduler()
    scheduler.attach(store)
    assert set(scheduler.reconcile(full=True).disarmed) == {"a", "ghost", "_wake.1"}
    assert [record.job_id for record in store.arms()] == ["a"]
    assert store.load(0).wanted_arms == 0


def test_it_leaves_no_thread_behind(store: Store, bell: Bell) -> None:
    before = set(threading.enumerate())
    scheduler = InProcessCronScheduler()
    scheduler.start(store, bell)  # type: ignore[arg-type]  # loosely typed, as tests are.
    scheduler.start(store, bell)  # type: ignore[arg-type]  # loosely typed, as tests are.
    assert [thread.name for thread in set(threading.enumerate()) - before] == ["hermes-cron-ticker"]
    scheduler.stop()
    assert set(threading.enumerate()) <= before
