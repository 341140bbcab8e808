"""The end of a worker: what runs may end in its time, the rest is handed back, and nothing starts any more."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import timedelta

from hermes_cron.fire import Fire
from hermes_cron.run import Run, RunState
from hermes_cron.transport import open_broker
from tests.unit.parts import Taken, add, until
from tests.unit.shop import Ack, Hold, Shop


def test_stop_waits_for_what_runs(shop: Shop) -> None:
    hold = Hold()
    worker = shop.worker(hold, drain=timedelta(seconds=60))
    worker.start()
    shop.broker.enqueue(Fire("a"))
    assert until(lambda: hold.inside == 1)
    threading.Timer(0.1, hold.go.set).start()
    worker.stop()
    assert (hold.inside, shop.asked, worker.busy()) == (0, [], 0)


def test_stop_hands_back_what_does_not_end_and_everything_ends(shop: Shop) -> None:
    add(shop.store, "a", task="t")
    shop.clock.advance(900)
    started = threading.Event()

    def body(run: Run) -> None:
        started.set()
        while not run.cancelled():
            time.sleep(0.002)

    worker = shop.whole({"t": body}, grace=timedelta(seconds=60))
    worker.start()
    assert started.wait(60)
    began = time.monotonic()
    worker.stop()
    assert time.monotonic() - began < 50
    assert [str(fire.state) for fire in shop.store.fires("a")] == ["waiting"]
    assert shop.store.runs("a")[0].state is RunState.ABANDONED
    assert shop.scheduler.said[-1] == "arm a"
    assert until(lambda: not any(thread.is_alive() for thread in worker._threads))


def test_a_fire_that_is_being_claimed_when_the_drain_ends_is_handed_back(shop: Shop) -> None:
    add(shop.store, "a", task="t")
    shop.clock.advance(900)
    claiming, go = threading.Event(), threading.Event()
    ran: list[str] = []

    def check(fire: Fire) -> None:
        claiming.set()
        go.wait(60)

    worker = shop.whole(
        {"t": lambda run: ran.append(run.job_id)}, check=check, drain=timedelta(0),
        grace=timedelta(seconds=60),
    )  # fmt: skip
    worker.start()
    assert claiming.wait(60)
    # It goes on once the drain has ended, which takes no time.
    threading.Thread(target=lambda: until(worker._stopping.is_set) and (time.sleep(0.5), go.set())).start()
    worker.stop()
    assert ran == []
    assert [str(fire.state) for fire in shop.store.fires("a")] == ["waiting"]


def test_stop_is_quick_when_there_is_nothing_to_do(shop: Shop) -> None:
    worker = shop.worker(lambda fire, ack: None, drain=timedelta(seconds=60))
    worker.start()
    time.sleep(0.02)
    began = time.monotonic()
    worker.stop()
    assert time.monotonic() - began < 30
    assert not any(thread.is_alive() for thread in worker._threads)


def test_starts_nothing_once_it_is_stopped(shop: Shop) -> None:
    seen: list[str] = []

    def fire_due(fire: Fire, ack: Ack) -> float | None:
        seen.append(fire.job_id)
        return 2.0

    worker = shop.worker(fire_due)
    worker.start()
    early = Taken(Fire("early"))
    worker._handle(early)
    assert until(lambda: seen == ["early"])
    worker.stop()
    late = Taken(Fire("late"))
    worker._handle(late)
    time.sleep(2.2)
    assert (seen, early.acked, late.acked, worker.busy()) == (["early"], 0, 0, 0)


def test_stops_before_it_was_started(shop: Shop) -> None:
    shop.worker(lambda fire, ack: None).stop()


def test_what_a_stopped_worker_held_is_in_the_queue_again(shop: Shop) -> None:
    broker = open_broker("memory://", f"test-{uuid.uuid4().hex}")
    worker = shop.worker(lambda fire, ack: 30.0, broker)
    worker.start()
    broker.enqueue(Fire("a"))
    assert until(lambda: len(worker._held) == 1)
    assert broker.depth() == 1
    worker.stop()
    assert broker.depth() == 1
    seen: list[str] = []

    def fire_due(fire: Fire, ack: Ack) -> None:
        seen.append(fire.job_id)
        ack()

    shop.worker(fire_due, broker).start()
    assert until(lambda: seen == ["a"] and broker.depth() == 0)
    broker.close()
