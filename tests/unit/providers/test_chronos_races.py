"""Two who change and arm one job at once, over a network that delays and reorders: NAS ends with what is stored."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from hermes_cron.clock import utc_now
from hermes_cron.interfaces import Store
from hermes_cron.providers.chronos.scheduler import ChronosCronScheduler
from hermes_cron.record import Moment, Record
from hermes_cron.rules import change
from hermes_cron.schedule import Schedule
from hermes_cron.store import open_store
from tests.unit.providers.conftest import add, chronos_settings
from tests.unit.providers.nas import Call, Drop, Nas, instants, until


def edited(record: Record, moment: Moment, *, minutes: int) -> tuple[Record, object]:
    assert record.job
    text = f"every {minutes}m"
    return change.edit(record, moment, job=replace(record.job, schedule=Schedule.parse(text, now=moment.now)))


def wobbly(chance: random.Random, nas: Nas):
    """A network that delays each call, and loses some answers, though the call arrives later on."""

    def misbehave(call: Call) -> None:
        if "list" in call.path or "capabilities" in call.path:
            return
        time.sleep(chance.uniform(0, 0.02))
        if chance.random() < 0.1:
            threading.Timer(chance.uniform(0, 0.05), nas.answer, (call,)).start()
            raise Drop

    return misbehave


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Store]:
    """A store whose clock runs fifty times as fast, so that a right that nobody gives back lapses after 0.2 s."""
    began = utc_now()

    def clock() -> datetime:
        return began + 50 * (utc_now() - began)

    store = open_store(f"sqlite:///{tmp_path}/fast.db", clock=clock)
    yield store
    store.close()


def test_i11_two_threads_that_race_leave_one_arm_the_stored_one(nas: Nas, fast: Store) -> None:
    chance = random.Random(7)
    nas.misbehave = wobbly(chance, nas)
    add(fast, "a", "every 1000m")
    both = [ChronosCronScheduler(chronos_settings(nas)) for _ in range(2)]

    def edit_often(scheduler: ChronosCronScheduler, first: int) -> None:
        scheduler.attach(fast)
        for number in range(50):
            fast.change("a", partial(edited, minutes=first + 7 * number))
            scheduler.arm("a", 0.5)

    threads = [threading.Thread(target=edit_often, args=(s, 500 + n)) for n, s in enumerate(both)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def agreed() -> bool:
        both[0].reconcile()
        record = fast.read("a")
        assert record
        return not record.arm.wanted

    assert until(agreed, 10)
    time.sleep(0.1)
    record = fast.read("a")
    assert record
    assert instants(nas) == {"a": record.arm.wake_at}
    for scheduler in both:
        scheduler.stop()


def test_i11_the_last_of_two_edits_stands_though_its_call_overtakes_the_first(nas: Nas, fast: Store) -> None:
    add(fast, "a", "every 1000m")

    def late(call: Call) -> None:
        if "provision" in call.path and len(nas.provisions()) == 1:
            threading.Timer(0.1, nas.answer, (call,)).start()
            raise Drop

    nas.misbehave = late
    scheduler = ChronosCronScheduler(chronos_settings(nas))
    scheduler.attach(fast)
    assert not scheduler.arm("a", 0.05)
    fast.change("a", partial(edited, minutes=2000))
    assert until(lambda: scheduler.arm("a", 1), 5)
    time.sleep(0.2)
    record = fast.read("a")
    assert record
    assert instants(nas) == {"a": record.arm.wake_at}
    scheduler.stop()


EDIT_OFTEN = """
import sys
from functools import partial
from hermes_cron.providers.chronos.scheduler import ChronosCronScheduler
from hermes_cron.settings import ChronosSettings, Secret
from hermes_cron.store import open_store
from tests.unit.providers.test_chronos_races import edited

url, nas, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = open_store(url, deadline=10)
settings = ChronosSettings(portal_url=nas, callback_url="https://agent.example", access_token=Secret("good"), ladder=())
scheduler = ChronosCronScheduler(settings)
scheduler.attach(store)
sys.stdin.readline()
for number in range(100):
    store.change("a", partial(edited, minutes=first + 7 * number))
    scheduler.on_jobs_changed(["a"])
scheduler.stop()
"""


@pytest.mark.processes
def test_i11_two_processes_that_race_leave_one_arm_the_stored_one(nas: Nas, store: Store, tmp_path: Path) -> None:
    chance = random.Random(9)

    def slow(call: Call) -> None:
        time.sleep(chance.uniform(0, 0.01))

    nas.misbehave = slow
    add(store, "a", "every 1000m")
    url = f"sqlite:///{tmp_path}/hermes-cron.db"
    pair = [
        subprocess.Popen([sys.executable, "-c", EDIT_OFTEN, url, nas.url, str(500 + n)], stdin=subprocess.PIPE)
        for n in range(2)
    ]
    for process in pair:
        assert process.stdin
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert [process.wait(90) for process in pair] == [0, 0]
    record = store.read("a")
    assert record
    assert not record.arm.wanted
    assert record.arm.owner is None
    assert instants(nas) == {"a": record.arm.wake_at}
    assert timedelta(0) < instants(nas)["a"] - store.now()
