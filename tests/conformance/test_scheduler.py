"""What every `CronScheduler` promises, whoever holds its alarms."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial

import pytest

from hermes_cron.fire import Fire
from hermes_cron.interfaces import CronScheduler, Reconciled, Store
from hermes_cron.job import Job
from hermes_cron.providers.builtin import InProcessCronScheduler
from hermes_cron.providers.chronos.scheduler import ChronosCronScheduler
from hermes_cron.rules import change
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.schedule import Schedule
from hermes_cron.settings import ChronosSettings, Secret
from tests.unit.parts import until
from tests.unit.providers.nas import Nas, serving

CLAIMER = Claimer("w", timedelta(seconds=30))


class Bell:
    """A broker that keeps what it is given."""

    def __init__(self) -> None:
        self.rung: list[Fire] = []

    def enqueue(self, fire: Fire) -> None:
        self.rung.append(fire)

    def consume(self, handle: object, free: object, stop: object) -> None: ...

    def depth(self) -> int | None:
        return len(self.rung)

    def close(self) -> None: ...


@pytest.fixture(params=["builtin", "chronos"])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[], CronScheduler]]:
    """Makes schedulers of one kind that share whoever holds the alarms; a new implementation joins here."""
    made: list[CronScheduler] = []
    with serving(Nas()) as nas:
        settings = ChronosSettings(
            portal_url=nas.url, callback_url="https://agent.example", access_token=Secret("good"), ladder=(900.0,)
        )
        makers: dict[str, Callable[[], CronScheduler]] = {
            "builtin": InProcessCronScheduler,
            "chronos": lambda: ChronosCronScheduler(settings),
        }

        def new() -> CronScheduler:
            made.append(makers[request.param]())
            return made[-1]

        yield new
        for scheduler in made:
            scheduler.stop()


@pytest.fixture
def scheduler(make: Callable[[], CronScheduler]) -> CronScheduler:
    return make()


def add(store: Store, job_id: str, schedule: str = "every 15m") -> datetime:
    job = Job(id=job_id, task="t", schedule=Schedule.parse(schedule, now=store.now()))
    kept = store.change(job_id, partial(change.create, job=job))
    assert kept.next_fire_at
    return kept.next_fire_at


def test_it_tells_its_name_and_whether_it_confirms(scheduler: CronScheduler) -> None:
    assert isinstance(scheduler.name, str)
    assert scheduler.name
    assert isinstance(scheduler.confirms, bool)


def test_i8_is_available_and_attach_open_no_connection_and_start_nothing(
    scheduler: CronScheduler, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    threads = set(threading.enumerate())
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert scheduler.is_available() is True
    scheduler.attach(store)
    assert set(threading.enumerate()) <= threads


def test_i9_start_returns_and_stop_ends_what_it_began(scheduler: CronScheduler, store: Store) -> None:
    add(store, "a")
    names = {thread.name for thread in threading.enumerate()}
    scheduler.start(store, Bell())
    own = [thread for thread in threading.enumerate() if thread.name not in names and "hermes-cron" in thread.name]
    assert all(thread.daemon for thread in own)
    scheduler.stop()
    scheduler.stop()
    assert not any(thread.is_alive() for thread in own)


def test_it_may_be_stopped_unstarted_and_started_again(scheduler: CronScheduler, store: Store) -> None:
    scheduler.stop()
    for _ in range(2):
        scheduler.start(store, Bell())
        scheduler.stop()


def test_i10_arming_twice_is_arming_once(scheduler: CronScheduler, store: Store) -> None:
    scheduler.attach(store)
    wake = add(store, "a")
    assert scheduler.arm("a", 30) is True
    first = store.read("a")
    assert scheduler.arm("a", 30) is True
    assert store.read("a") == first
    held = scheduler.held()
    assert (held == {"a": wake}) if scheduler.confirms else (held is None)


def test_it_disarms_an_unknown_id_and_keeps_nothing_of_it(scheduler: CronScheduler, store: Store) -> None:
    scheduler.attach(store)
    for job_id in ("ghost", "_wake.1"):
        assert scheduler.arm(job_id, 30) is True
        assert store.read(job_id) is None


def test_i11_each_job_with_a_wake_has_a_confirmed_arm_or_the_store_is_not_idle(
    scheduler: CronScheduler, store: Store
) -> None:
    scheduler.attach(store)
    wakes = {job_id: add(store, job_id) for job_id in "abc"}
    assert list(scheduler.on_jobs_changed(wakes)) == []
    assert store.load(0).wanted_arms == (0 if scheduler.confirms else 3)
    held = scheduler.held()
    assert held is None or {job_id: held[job_id] for job_id in wakes} == wakes


@pytest.mark.parametrize("step", [change.pause, change.remove])
def test_nothing_is_held_or_wanted_of_a_job_that_is_over(scheduler: CronScheduler, store: Store, step: object) -> None:
    scheduler.attach(store)
    add(store, "a")
    scheduler.on_jobs_changed(["a"])
    # A row that goes within the millisecond it came in stays, hidden, so that its fence never falls.
    made = store.now()
    assert until(lambda: store.now() > made + timedelta(milliseconds=2))
    store.change("a", step)  # type: ignore[arg-type]  # loosely typed, as tests are.
    assert list(scheduler.on_jobs_changed(["a"])) == []
    assert store.load(0).total == 0
    assert not scheduler.held()
    assert (store.read("a") is None) is (step is change.remove)


def test_i14_nothing_of_a_completed_job_stays_armed(scheduler: CronScheduler, store: Store) -> None:
    scheduler.attach(store)
    at = add(store, "a", (store.now() + timedelta(seconds=3)).isoformat())
    scheduler.on_jobs_changed(["a"])
    while store.now() <= at:
        time.sleep(0.02)
    store.change("a", partial(claim, fire=Fire("a", at), claimer=CLAIMER))
    assert scheduler.arm("a", 30) is True
    store.change("a", change.remove)
    store.change("a", partial(change.cancel_run, run_id=store.runs("a")[0].id))
    scheduler.on_jobs_changed(["a"])
    record = store.read("a")
    # Its run is still open, so its guard keeps somebody awake for it.
    assert record is None or record.arm.wake_at is not None


def test_a_spent_alarm_is_armed_anew(scheduler: CronScheduler, store: Store) -> None:
    scheduler.attach(store)
    wake = add(store, "a")
    scheduler.arm("a", 30)
    store.change("a", partial(claim, fire=Fire("a", wake), claimer=CLAIMER))
    assert scheduler.arm("a", 30) is True
    record = store.read("a")
    assert record
    assert record.arm.wanted is not scheduler.confirms


def test_reconcile_says_what_it_did_and_a_second_does_nothing(scheduler: CronScheduler, store: Store) -> None:
    scheduler.attach(store)
    add(store, "a")
    add(store, "b")
    store.change("b", change.pause)
    for full in (False, True):
        first = scheduler.reconcile(full=full)
        assert first.wanted == ()
        again = scheduler.reconcile(full=full)
        assert (again.armed, again.disarmed, again.orphans, again.wanted) == ((), (), (), ())
        assert isinstance(first, Reconciled)


def test_two_of_them_at_one_store_agree(make: Callable[[], CronScheduler], store: Store) -> None:
    pair = [make(), make()]
    for one in pair:
        one.start(store, Bell())
    wake = add(store, "a")
    threads = [threading.Thread(target=one.arm, args=("a", 30)) for one in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = pair[0].held()
    assert held is None or held["a"] == wake


def test_nothing_is_wanted_while_everything_is_stopped(scheduler: CronScheduler, store: Store) -> None:
    scheduler.attach(store)
    add(store, "a")
    store.set_stopped(True)
    assert list(scheduler.on_jobs_changed(["a"])) == []
    assert scheduler.reconcile(full=True).wanted == ()
    assert not scheduler.held()
