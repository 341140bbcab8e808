"""The idle exit: what keeps a process awake, and that nothing is lost when it goes."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from hermes_cron.errors import BrokerError, Draining, StoreError
from hermes_cron.fire import Fire
from hermes_cron.idle import Gate, IdleExit
from hermes_cron.interfaces import Broker, Store
from hermes_cron.rules import arms, change
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.rules.progress import begin
from hermes_cron.run import Run
from hermes_cron.transport import open_broker
from hermes_cron.transport.door import Door
from tests.unit.parts import LEASE, FakeClock, ListBroker, add, until


@dataclass
class Unit:
    """An idle exit over real parts; `said` tells what was done with the door, and the end."""

    store: Store
    clock: FakeClock
    broker: Broker = field(default_factory=ListBroker)
    busy: int = 0
    said: list[str] = field(default_factory=list)
    on_shut: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.door = Door(self.broker)

    def shut(self) -> None:
        self.on_shut()
        self.door.shut()
        self.said.append("shut")

    def open(self) -> None:
        self.door.open()
        self.said.append("open")

    def exit(self, seconds: float = 30.0, store: Any = None) -> IdleExit:
        gate = Gate(self.shut, self.open)
        return IdleExit(
            store or self.store, self.broker, lambda: self.busy, gate, lambda: self.said.append("end"), seconds
        )

    def armed(self, job_id: str = "a") -> None:
        """Confirm what is wanted of this job."""
        order = self.store.change(job_id, partial(arms.lease, token="t"))
        assert order is not None
        self.store.change(job_id, partial(arms.confirm, order=order))

    def run(self, job_id: str = "a") -> Run:
        """A live run of this job, all its arms confirmed."""
        run = self.store.change(job_id, partial(claim, fire=Fire(job_id), claimer=Claimer("other", LEASE))).run
        assert run is not None
        begun = self.store.change(job_id, partial(begin, run=run, lease=LEASE))
        assert isinstance(begun, Run)
        self.armed(job_id)
        return begun


@pytest.fixture
def unit(store: Store, clock: FakeClock) -> Unit:
    return Unit(store, clock)


@pytest.fixture
def memory() -> Iterator[Broker]:
    new = open_broker("memory://", f"test-{uuid.uuid4().hex}")
    yield new
    new.close()


def test_is_idle_with_nothing_to_do(unit: Unit) -> None:
    assert unit.exit().idle()


def test_is_busy_while_its_worker_is(unit: Unit) -> None:
    unit.busy = 1
    assert not unit.exit().idle()


def test_is_busy_while_a_fire_is_queued(unit: Unit) -> None:
    unit.broker.enqueue(Fire("a"))
    assert not unit.exit().idle()


def test_i11_is_busy_while_an_arm_is_wanted(unit: Unit) -> None:
    add(unit.store, schedule="every 10h")
    assert not unit.exit().idle()
    unit.armed()
    assert unit.exit().idle()
    unit.store.change("a", change.remove)
    assert not unit.exit().idle()


@pytest.mark.parametrize(("seconds", "idle"), [(599.0, True), (600.0, False), (3600.0, False)])
def test_is_busy_when_something_is_due_within_its_seconds(unit: Unit, seconds: float, idle: bool) -> None:
    add(unit.store, schedule="every 10m")
    unit.armed()
    assert unit.exit(seconds).idle() == idle


def test_is_busy_when_something_is_overdue(unit: Unit) -> None:
    add(unit.store, schedule="every 10m")
    unit.armed()
    unit.clock.advance(601)
    assert not unit.exit(1).idle()


def test_other_workers_runs_do_not_keep_it_awake(unit: Unit) -> None:
    add(unit.store, schedule="every 10h")
    unit.clock.advance(10 * 3600)
    unit.run()
    assert unit.exit(1).idle()


def test_dead_leases_keep_it_awake(unit: Unit) -> None:
    add(unit.store, schedule="every 10h")
    unit.clock.advance(10 * 3600)
    unit.run()
    unit.clock.advance(30)
    assert not unit.exit(1).idle()


def test_a_waiting_fire_keeps_it_awake(unit: Unit) -> None:
    add(unit.store, schedule="every 10h")
    unit.armed()
    unit.store.change("a", partial(change.run_now, uuid="1"))
    unit.armed()
    assert not unit.exit(1).idle()


def test_is_busy_when_the_queue_cannot_be_read(store: Store, clock: FakeClock) -> None:
    broker = ListBroker()
    broker.fault = BrokerError("gone")
    assert not Unit(store, clock, broker).exit().idle()


class NoStore:
    """A store that cannot be read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def load(self, within: float) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [StoreError("away"), ZeroDivisionError("a bug"), OSError("gone")])
def test_is_busy_when_the_store_cannot_be_read(unit: Unit, error: Exception) -> None:
    exit_ = unit.exit(store=NoStore(error))
    assert not exit_.idle()
    assert not exit_.asleep()
    assert unit.said == ["shut", "open"]


def test_falls_asleep_behind_a_shut_door(unit: Unit) -> None:
    assert unit.exit().asleep()
    assert unit.said == ["shut"]
    with pytest.raises(Draining):
        unit.door.enqueue(Fire("a"))


def test_i16_a_fire_that_slips_in_between_opens_the_door_again(store: Store, clock: FakeClock, memory: Broker) -> None:
    unit = Unit(store, clock, memory)
    exit_ = unit.exit()
    assert exit_.idle()
    unit.on_shut = lambda: unit.door.enqueue(Fire("late"))
    assert not exit_.asleep()
    assert unit.said == ["shut", "open"]
    unit.door.enqueue(Fire("next"))
    assert memory.depth() == 2


def test_a_fire_taken_by_the_worker_in_between_opens_the_door_again(unit: Unit) -> None:
    def taken() -> None:
        unit.busy = 1

    unit.on_shut = taken
    assert not unit.exit().asleep()
    assert unit.said == ["shut", "open"]


def test_ends_once_after_its_seconds(unit: Unit) -> None:
    exit_ = unit.exit(0.1)
    exit_.start()
    assert until(lambda: unit.said == ["shut", "end"])
    assert not until(lambda: len(unit.said) > 2, 0.2)


def test_does_not_end_while_there_is_something_to_do(unit: Unit) -> None:
    unit.busy = 1
    exit_ = unit.exit(0.1)
    exit_.start()
    assert not until(lambda: unit.said, 0.4)
    unit.busy = 0
    assert until(lambda: unit.said == ["shut", "end"])


def test_watches_on_after_the_door_was_opened_again(unit: Unit) -> None:
    slips = [1]

    def slip() -> None:
        if slips:
            slips.pop()
            unit.broker.enqueue(Fire("late"))

    unit.on_shut = slip
    exit_ = unit.exit(0.1)
    exit_.start()
    assert until(lambda: unit.said == ["shut", "open"])
    assert isinstance(unit.broker, ListBroker)
    unit.broker.fires.clear()
    assert until(lambda: unit.said == ["shut", "open", "shut", "end"])


def test_goes_on_watching_whatever_goes_wrong(unit: Unit) -> None:
    wrong = [1]

    def busy() -> int:
        if wrong:
            wrong.pop()
            raise ZeroDivisionError("a bug")
        return 0

    exit_ = IdleExit(
        unit.store, unit.broker, busy, Gate(unit.shut, unit.open), lambda: unit.said.append("end"), 0.1
    )  # fmt: skip
    exit_.start()
    assert until(lambda: unit.said[-1:] == ["end"])


def test_a_stopped_watch_ends_nothing(unit: Unit) -> None:
    exit_ = unit.exit(5.0)
    exit_.start()
    exit_.stop()
    assert until(lambda: not any(thread.name == "hermes-cron-idle" for thread in threading.enumerate()))
    assert unit.said == []
