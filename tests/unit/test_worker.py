"""The worker: bounded, never starved, never stopped by what one fire does; finds what no message tells of."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from functools import partial
from typing import Any

import pytest

from hermes_cron.errors import HermesCronError, StoreError
from hermes_cron.fire import Fire
from hermes_cron.rules import change
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.run import Run
from hermes_cron.store import open_store
from hermes_cron.transport import open_broker
from hermes_cron.worker import SWEEP_S
from tests.unit.parts import LEASE, FakeClock, ListBroker, Taken, add, until
from tests.unit.shop import Ack, Hold, Shop


def test_sees_a_fire_through(shop: Shop) -> None:
    seen: list[Fire] = []
    shop.worker(lambda fire, ack: seen.append(fire)).start()
    shop.broker.enqueue(Fire("a"))
    assert until(lambda: seen == [Fire("a")])


def test_takes_no_more_than_it_has_slots(shop: Shop) -> None:
    hold = Hold()
    worker = shop.worker(hold, concurrency=3)
    worker.start()
    for number in range(10):
        shop.broker.enqueue(Fire(f"a{number}"))
    assert until(lambda: hold.inside == 3)
    time.sleep(0.05)
    assert (hold.inside, worker.busy(), shop.broker.depth()) == (3, 3, 7)
    hold.go.set()
    assert until(lambda: len(hold.seen) == 10)
    assert hold.most == 3


def test_held_fires_of_one_instant_take_no_more_than_it_has_slots(shop: Shop) -> None:
    hold, early = Hold(), set[str]()

    def fire_due(fire: Fire, ack: Ack) -> float | None:
        if fire.job_id not in early:
            early.add(fire.job_id)
            return 5.0
        return hold(fire, ack)

    worker = shop.worker(fire_due, concurrency=2)
    worker.start()
    for number in range(8):
        shop.broker.enqueue(Fire(f"a{number}"))
    assert until(lambda: worker.busy() == 8)
    assert until(lambda: hold.inside == 2)
    time.sleep(0.1)
    assert (hold.most, worker.busy()) == (2, 8)
    hold.go.set()
    assert until(lambda: len(hold.seen) == 8)
    assert hold.most == 2


def test_messages_and_the_sweep_share_the_slots(shop: Shop) -> None:
    for number in range(6):
        add(shop.store, f"due{number}")
    shop.clock.advance(900)
    hold = Hold()
    for number in range(6):
        shop.broker.enqueue(Fire(f"told{number}"))
    shop.worker(hold, concurrency=2).start()
    assert until(lambda: hold.inside == 2)
    time.sleep(0.05)
    assert hold.most == 2
    hold.go.set()
    assert until(lambda: len({job_id for job_id in hold.seen if job_id.startswith("told")}) == 6)
    assert hold.most == 2


def test_a_held_early_fire_runs_at_its_instant(shop: Shop) -> None:
    began = time.monotonic()
    asked: list[float] = []

    def fire_due(fire: Fire, ack: Ack) -> float | None:
        asked.append(time.monotonic() - began)
        return 3.0 if len(asked) == 1 else ack()

    worker = shop.worker(fire_due)
    worker.start()
    delivery = Taken(Fire("a"))
    worker._handle(delivery)
    assert until(lambda: len(worker._held) == 1)
    assert (delivery.acked, worker.busy()) == (0, 1)
    assert until(lambda: len(asked) == 2)
    assert 2.98 <= asked[1] <= SWEEP_S, "no sweep was needed"
    assert until(lambda: worker.busy() == 0)
    assert delivery.acked == 1


def test_held_fires_run_in_the_order_of_their_instants(shop: Shop) -> None:
    waits = {"late": 3.0, "soon": 1.0, "next": 2.0}
    seen: list[str] = []

    def fire_due(fire: Fire, ack: Ack) -> float | None:
        if fire.job_id in waits:
            return waits.pop(fire.job_id)
        seen.append(fire.job_id)
        return None

    worker = shop.worker(fire_due)
    worker.start()
    for job_id in list(waits):
        worker._handle(Taken(Fire(job_id)))
    assert until(lambda: len(seen) == 3)
    assert seen == ["soon", "next", "late"]


def test_i16_the_sweep_at_the_start_finds_an_overdue_job_without_any_message(shop: Shop) -> None:
    add(shop.store, "a", task="t")
    shop.clock.advance(900)
    ran: list[str] = []
    worker = shop.whole({"t": lambda run: ran.append(run.job_id)})
    worker.start()
    assert until(lambda: ran == ["a"])
    assert until(lambda: [str(fire.state) for fire in shop.store.fires("a")] == ["succeeded"])


def test_i16_the_sweep_finds_a_run_whose_worker_died(shop: Shop) -> None:
    add(shop.store, "a", task="t")
    shop.clock.advance(900)
    run = shop.store.change("a", partial(claim, fire=Fire("a"), claimer=Claimer("dead", LEASE))).run
    assert run is not None
    shop.clock.advance(31)
    seen: list[Run] = []
    worker = shop.whole({"t": seen.append})
    worker.start()
    assert until(lambda: len(seen) == 1)
    assert (seen[0].attempt, seen[0].fence) == (2, run.fence + 1)


def test_the_sweep_goes_on_as_slots_come_free(shop: Shop) -> None:
    for number in range(16):
        add(shop.store, f"a{number}", task="t")
    shop.clock.advance(900)
    ran: list[str] = []
    worker = shop.whole({"t": lambda run: ran.append(run.job_id)}, concurrency=2)
    worker.start()
    # As many as there are slots at each sweep would take eight of them, and a hundred seconds.
    assert until(lambda: len(ran) == 16)
    assert sorted(ran) == sorted(f"a{number}" for number in range(16))


@pytest.mark.parametrize("error", [StoreError("damaged"), ZeroDivisionError(), SystemExit(1)])
def test_i17_poison_jobs_starve_no_others(shop: Shop, error: BaseException) -> None:
    for number in range(6):
        add(shop.store, f"a-poison{number}", task="t")
    shop.clock.advance(1)
    for number in range(12):
        add(shop.store, f"good{number}", task="t")
    shop.clock.advance(900)
    ran: list[str] = []

    def check(fire: Fire) -> None:
        if "poison" in fire.job_id:
            raise error

    shop.whole({"t": lambda run: ran.append(run.job_id)}, check=check, concurrency=2).start()
    assert until(lambda: len(ran) == 12)


@pytest.mark.parametrize(
    "error", [HermesCronError("no"), ValueError("no"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]
)
def test_i17_survives_whatever_a_fire_raises(shop: Shop, error: BaseException) -> None:
    seen: list[str] = []

    def fire_due(fire: Fire, ack: Ack) -> None:
        seen.append(fire.job_id)
        if fire.job_id == "bad":
            raise error

    worker = shop.worker(fire_due, concurrency=1)
    worker.start()
    bad = Taken(Fire("bad"))
    worker._handle(bad)
    assert until(lambda: worker.busy() == 0)
    shop.broker.enqueue(Fire("good"))
    assert until(lambda: seen == ["bad", "good"])
    assert bad.acked == 1


def test_i17_an_ack_that_raises_costs_no_slot(shop: Shop) -> None:
    def ack() -> None:
        raise OSError("gone")

    def fire_due(fire: Fire, ack: Ack) -> None:
        raise StoreError("away")

    worker = shop.worker(fire_due, concurrency=1)
    worker.start()
    delivery = Taken(Fire("a"))
    delivery.ack = ack  # type: ignore[method-assign]  # watched.
    worker._handle(delivery)
    assert until(lambda: worker.busy() == 0)


def test_i17_goes_on_consuming_when_its_queue_breaks_in_a_way_that_nobody_foresaw(shop: Shop) -> None:
    class Odd(ListBroker):
        broken = 2

        def consume(self, *parts: Any) -> None:
            self.broken -= 1
            if self.broken >= 0:
                raise ZeroDivisionError("a bug")
            super().consume(*parts)

    odd, seen = Odd(), list[str]()
    shop.worker(lambda fire, ack: seen.append(fire.job_id), odd).start()
    odd.enqueue(Fire("a"))
    assert until(lambda: seen == ["a"])


def test_the_sweep_survives_a_store_that_is_away(
    shop: Shop, caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    shop.store = open_store("sqlite:////nowhere/at/all/x.db", clock=clock)
    seen: list[str] = []
    worker = shop.worker(lambda fire, ack: seen.append(fire.job_id))
    with caplog.at_level(logging.WARNING):
        worker.start()
        assert until(lambda: "could not look into the store" in caplog.text)
    shop.broker.enqueue(Fire("a"))
    assert until(lambda: seen == ["a"])


def test_a_sentinels_wake_sweeps_now_and_reconciles_fully(shop: Shop) -> None:
    ran: list[str] = []
    worker = shop.whole({"t": lambda run: ran.append(run.job_id)})
    worker.start()
    time.sleep(0.05)
    add(shop.store, "a", task="t")
    shop.clock.advance(900)
    shop.broker.enqueue(Fire("_wake.1"))
    assert until(lambda: ran == ["a"] and shop.scheduler.reconciled == [True])


def test_i16_a_reconcile_that_fails_or_hangs_keeps_no_sweep(shop: Shop) -> None:
    ran: list[str] = []
    worker = shop.whole({"t": lambda run: ran.append(run.job_id)})
    hangs, entered = threading.Event(), threading.Event()

    def reconcile(full: bool = False, cancel_orphans: bool = False) -> Any:
        entered.set()
        hangs.wait(60)
        raise ValueError("a bug in a plugin")

    shop.scheduler.reconcile = reconcile  # type: ignore[method-assign]  # watched.
    worker.start()
    time.sleep(0.05)
    add(shop.store, "a", task="t")
    shop.clock.advance(900)
    worker.awake()
    assert until(lambda: ran == ["a"])
    assert entered.wait(60)
    assert until(lambda: worker.busy() == 1)
    hangs.set()
    assert until(lambda: worker.busy() == 0)
    add(shop.store, "b", task="t")
    shop.clock.advance(900)
    worker.awake()
    assert until(lambda: "b" in ran)


def test_i5_two_workers_run_each_fire_once(shop: Shop) -> None:
    broker = open_broker("memory://", f"test-{uuid.uuid4().hex}")
    for number in range(20):
        add(shop.store, f"a{number}", task="t")
    shop.clock.advance(900)
    ran: list[str] = []
    for _ in range(2):
        shop.whole({"t": lambda run: ran.append(run.job_id)}, broker).start()
    for number in range(20):
        broker.enqueue(Fire(f"a{number}"))
        broker.enqueue(Fire(f"a{number}"))
    assert until(lambda: len(ran) >= 20 and broker.depth() == 0)
    assert until(lambda: not any(worker.busy() for worker in shop.open))
    assert sorted(ran) == sorted(f"a{number}" for number in range(20))
    broker.close()


def test_a_paused_job_found_by_the_sweep_is_left_alone(shop: Shop) -> None:
    add(shop.store, "a", task="t")
    shop.clock.advance(900)
    shop.store.change("a", change.pause)
    add(shop.store, "b", task="t")
    shop.clock.advance(900)
    ran: list[str] = []
    worker = shop.whole({"t": lambda run: ran.append(run.job_id)})
    worker.start()
    assert until(lambda: ran == ["b"])
    assert shop.store.fires("a")[0].reason == "paused"
