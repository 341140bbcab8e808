"""What a store keeps when many processes use it at once, fork, and are killed."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from typing import Any

import pytest

from hermes_cron.arm import Arm
from hermes_cron.interfaces import Store
from hermes_cron.job import Job
from hermes_cron.ledger import Entry, FireState
from hermes_cron.record import Moment, Record
from hermes_cron.schedule import Schedule

pytestmark = pytest.mark.timeout(400)
HOURLY = Schedule("cron", "0 * * * *")

ONE_MORE = """
import os, sys, threading
from dataclasses import replace
from hermes_cron.ledger import Entry, FireState
from hermes_cron.store import open_store

def one_more(record, moment):
    job = replace(record.job, counted=record.job.counted + 1)
    settled = Entry(job.id, f"k{job.counted}", moment.now, FireState.SUCCEEDED, settled_at=moment.now)
    return replace(record, job=job, entries=(*record.entries, settled)), job.counted

# Many wait for one job, and no one is to give up before its turn comes.
store = open_store(sys.argv[1], deadline=60)
"""
COUNT = ONE_MORE + "[store.change('a', one_more) for _ in range(int(sys.argv[2]))]"
STORM = ONE_MORE + "\nwhile True: print(store.change('a', one_more), flush=True)"
LOOK = ONE_MORE + "print('ready', flush=True); input(); print(store.stopped())"
FORK = (
    ONE_MORE
    + """
import warnings
# To fork beside threads is what is tried here, and from Python 3.12 on it warns of that.
warnings.simplefilter("ignore", DeprecationWarning)

def count():
    for _ in range(20):
        store.change('a', one_more)

threads = [threading.Thread(target=count) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        count()
        os._exit(0)
    children.append(child)
for thread in threads:
    thread.join()
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""
)


def start_at_zero(store: Store) -> None:
    record = Record("a", Job("a", "app.task", HOURLY), Arm(known=False))
    store.change("a", lambda kept, moment: (record, None))


def one_more(record: Record, moment: Moment) -> tuple[Record, None]:
    assert record.job is not None
    job = replace(record.job, counted=record.job.counted + 1)
    settled = Entry(job.id, f"k{job.counted}", moment.now, FireState.SUCCEEDED, settled_at=moment.now)
    return replace(record, job=job, entries=(*record.entries, settled)), None


def counted(store: Store) -> int:
    """How many changes the job tells of; the ledger must tell of the same ones."""
    record = store.read("a")
    assert record is not None
    assert record.job is not None
    keys = {entry.key for entry in store.fires("a", limit=1_000_000)}
    assert keys == {f"k{n}" for n in range(1, record.job.counted + 1)}
    return record.job.counted


def test_two_threads_lose_nothing(place: Any) -> None:
    store = place.open(deadline=60)
    start_at_zero(store)

    def count() -> None:
        for _ in range(50):
            store.change("a", one_more)

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted(store) == 100


def test_eight_processes_lose_nothing(store: Store, place: Any) -> None:
    start_at_zero(store)
    processes = [place.start(COUNT, 25) for _ in range(8)]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert errors == [""] * 8
    assert counted(store) == 200


def test_eight_processes_may_make_a_new_store_at_the_same_moment(place: Any) -> None:
    processes = [place.start(LOOK) for _ in range(8)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=300) for process in processes] == [("False\n", "")] * 8
    start_at_zero(place.open())


def test_a_kill_in_a_storm_of_changes_leaves_whole_changes_only(store: Store, place: Any) -> None:
    start_at_zero(store)
    for _ in range(3):
        processes = [place.start(STORM) for _ in range(2)]
        seen = max(int([process.stdout.readline() for _ in range(10)][-1]) for process in processes)
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        seen = max([seen, *(int(line) for p in processes for line in p.communicate()[0].split("\n")[:-1])])
        assert counted(store) >= seen
    before = counted(store)
    store.change("a", one_more)
    assert counted(store) == before + 1


def test_a_fork_in_the_midst_of_changes_loses_nothing(store: Store, place: Any) -> None:
    start_at_zero(store)
    process = place.start(FORK)
    assert process.communicate(timeout=300)[1] == ""
    assert (process.returncode, counted(store)) == (0, 120)
