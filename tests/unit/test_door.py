"""The door of a process that may end: a fire is refused, or on the queue before `shut` returns."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pytest

from hermes_cron.errors import BrokerError, Draining
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Broker
from hermes_cron.transport import open_broker
from hermes_cron.transport.door import Door
from tests.unit.parts import ListBroker, until


@pytest.fixture
def memory() -> Iterator[Broker]:
    new = open_broker("memory://", f"test-{uuid.uuid4().hex}")
    yield new
    new.close()


def test_lets_fires_through(memory: Broker) -> None:
    door = Door(memory)
    door.enqueue(Fire("a"))
    assert door.depth() == memory.depth() == 1


def test_refuses_once_it_is_shut_and_takes_again_once_it_is_open(memory: Broker) -> None:
    door = Door(memory)
    door.shut()
    door.shut()
    with pytest.raises(Draining) as told:
        door.enqueue(Fire("a"))
    assert (told.value.retry_after, memory.depth()) == (1, 0)
    door.open()
    door.enqueue(Fire("a"))
    assert memory.depth() == 1


def test_what_is_queued_is_still_consumed_while_it_is_shut(memory: Broker) -> None:
    door = Door(memory)
    door.enqueue(Fire("a"))
    door.shut()
    seen: list[Fire] = []
    door.consume(lambda delivery: seen.append(delivery.fire), lambda: 1, lambda: bool(seen))
    assert seen[0].job_id == "a"


def test_shut_waits_for_a_fire_on_its_way_in() -> None:
    inside, go = threading.Event(), threading.Event()

    class Slow(ListBroker):
        def enqueue(self, fire: Fire) -> None:
            inside.set()
            go.wait(60)
            super().enqueue(fire)

    slow = Slow()
    door = Door(slow)
    threading.Thread(target=door.enqueue, args=(Fire("a"),)).start()
    assert inside.wait(60)
    found: list[int | None] = []
    shutting = threading.Thread(target=lambda: (door.shut(), found.append(slow.depth())))
    shutting.start()
    shutting.join(0.1)
    assert shutting.is_alive()
    with pytest.raises(Draining):
        door.enqueue(Fire("b"))
    go.set()
    shutting.join(60)
    assert found == [1]


def test_i16_under_a_storm_every_fire_is_refused_or_counted(memory: Broker) -> None:
    door = Door(memory)
    taken, refused = [], []
    over = threading.Event()

    def storm() -> None:
        while not over.is_set():
            try:
                door.enqueue(Fire("a"))
                taken.append(1)
            except Draining:
                refused.append(1)

    def grown(count: int, seconds: float = 60) -> bool:
        return until(lambda: len(taken) > count, seconds)

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert grown(len(taken))
        door.shut()
        depth = memory.depth()
        assert not grown(depth or 0, 0.01)
        assert memory.depth() == depth
        door.open()
    over.set()
    for thread in threads:
        thread.join(60)
    assert memory.depth() == len(taken)
    assert refused


def test_a_broken_queue_leaves_nobody_inside() -> None:
    broken = ListBroker()
    broken.fault = BrokerError("gone")
    door = Door(broken)
    with pytest.raises(BrokerError):
        door.enqueue(Fire("a"))
    done = threading.Thread(target=door.shut)
    done.start()
    done.join(60)
    assert not done.is_alive()
    assert door.depth() is None


def test_closes_its_broker() -> None:
    broker = ListBroker()
    Door(broker).close()
    assert broker.closed
