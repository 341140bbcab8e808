"""Two who change and arm one job at once, over a network that delays and reorders: NAS ends with what is stored."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from hermes_cron import arm
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


@dataclass
class Late:
    """A network that loses answers, though the call arrives later on; then the right to have called lapses at once.

    So nothing waits for ten seconds, and a busy machine cannot bring a call later than its right allows.
    """

    nas: Nas
    ahead: timedelta = timedelta(0)
    lost: int = 0
    arrived: int = 0

    def clock(self) -> datetime:
        return utc_now() + self.ahead

    def lose(self, call: Call, seconds: float) -> None:
        """Bring the call so many seconds later, and no answer."""
        self.lost += 1
        threading.Timer(seconds, self._arrive, (call,)).start()
        raise Drop

    def all_arrived(self) -> bool:
        return self.arrived == self.lost

    def _arrive(self, call: Call) -> None:
        self.nas.answer(call)
        self.ahead += arm.LEASE
        self.arrived += 1


def wobbly(chance: random.Random, late: Late):
    """A network that delays each call, and loses some answers."""

    def misbehave(call: Call) -> None:
        if "list" in call.path or "capabilities" in call.path:
            return
        time.sleep(chance.uniform(0, 0.02))
        if chance.random() < 0.1:
            late.lose(call, chance.uniform(0, 0.05))

    return misbehave


@pytest.fixture
def late(nas: Nas) -> Late:
    return Late(nas)


@pytest.fixture
def fast(tmp_path: Path, late: Late) -> Iterator[Store]:
    """A store by whose clock a right that nobody gives back lapses as soon as the lost call has arrived."""
    store = open_store(f"sqlite:///{tmp_path}/fast.db", clock=late.clock)
    yield store
    store.close()


def test_i11_two_threads_that_race_leave_one_arm_the_stored_one(nas: Nas, fast: Store, late: Late) -> None:
    chance = random.Random(7)
    nas.misbehave = wobbly(chance, late)
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

    assert until(agreed)
    assert until(late.all_arrived)
    record = fast.read("a")
    assert record
    assert instants(nas) == {"a": record.arm.wake_at}
    for scheduler in both:
        scheduler.stop()


def test_i11_the_last_of_two_edits_stands_though_its_call_overtakes_the_first(
    nas: Nas, fast: Store, late: Late
) -> None:
    add(fast, "a", "every 1000m")

    def lose_the_first(call: Call) -> None:
        if "provision" in call.path and len(nas.provisions()) == 1:
            late.lose(call, 0.5)

    nas.misbehave = lose_the_first
    scheduler = ChronosCronScheduler(chronos_settings(nas))
    scheduler.attach(fast)
    assert not scheduler.arm("a", 30)
    fast.change("a", partial(edited, minutes=2000))
    assert until(lambda: scheduler.arm("a", 1))
    assert until(late.all_arrived)
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
store = open_store(url, deadline=60)
settings = ChronosSettings(portal_url=nas, callback_url="https://agent.example", access_token=Secret("good"), ladder=())
scheduler = ChronosCronScheduler(settings)
scheduler.attach(store)
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    store.change("a", partial(edited, minutes=first + 7 * number))
    # What is not confirmed within three seconds, as on a busy machine, is still wanted, and tried again.
    while scheduler.on_jobs_changed(["a"]):
        pass
scheduler.stop()
"""


@pytest.mark.processes
@pytest.mark.timeout(400)
def test_i11_two_processes_that_race_leave_one_arm_the_stored_one(nas: Nas, store: Store, tmp_path: Path) -> None:
    chance = random.Random(9)

    def slow(call: Call) -> None:
        time.sleep(chance.uniform(0, 0.01))

    nas.misbehave = slow
    add(store, "a", "every 1000m")
    url = f"sqlite:///{tmp_path}/hermes-cron.db"
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", EDIT_OFTEN, url, nas.url, str(500 + n)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for n in range(2)
    ]  # fmt: skip
    for process in pair:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
    for process in pair:
        assert process.stdin
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert [process.wait(300) for process in pair] == [0, 0]
    record = store.read("a")
    assert record
    assert not record.arm.wanted
    assert record.arm.owner is None
    assert instants(nas) == {"a": record.arm.wake_at}
    assert timedelta(0) < instants(nas)["a"] - store.now()
