"""Pages of a long ledger, the first and a deep one: `python -m bench.ledger [FIRES] [ROUNDS]`, in the project's folder.

On each store that answers (SQLite, PostgreSQL, Redis) one ledger of so many fires, four fifths of them of one job, each
with its run, made in batches and deleted again at the end. Then page 1 and page 1000 (50 fires each; or the last page
there is) in turn, so that whatever else the machine does meets both: of all jobs, of the one job, of its failed fires
(one in twenty), and the runs of a page's fires. What counts is the ratio. Beside it stands what page 1000 costs where a
store only gives the newest so many, as it was before pages began at a place. Last, a step of trimming, in milliseconds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hermes_cron.interfaces import Store
from hermes_cron.job import Job
from hermes_cron.ledger import Entry, FireState, Keep, scheduled_key
from hermes_cron.record import Moment, Record
from hermes_cron.run import Run, RunState
from hermes_cron.schedule import Schedule
from hermes_cron.store import open_store

PAGE, DEEP, BATCH = 50, 1000, 200
START = datetime(2020, 1, 1, tzinfo=UTC)
JOBS = ("often", "often", "often", "often", "seldom")


def main() -> None:
    fires = int(sys.argv[1]) if len(sys.argv) > 1 else 75_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    print(f"{fires} fires, pages of {PAGE}, medians of {rounds} rounds\n")
    for name, place in (("sqlite", sqlite), ("postgresql", postgresql), ("redis", redis)):
        try:
            with place() as url, closing(open_store(url, deadline=30.0)) as store:
                fill(store, fires)
                measure(name, store, rounds)
        except Exception as error:  # noqa: BLE001 - a server that is not there spoils no other store's figures.
            print(f"{name}: left out ({type(error).__name__}: {str(error).splitlines()[0]})\n")


def fill(store: Store, fires: int) -> None:
    """The ledger, its oldest fires first."""
    for job_id in set(JOBS):
        job = Job(job_id, "task", Schedule("cron", "* * * * *"))
        store.change(job_id, lambda kept, moment, job=job: (Record(job.id, job), None))
    for first in range(0, fires, BATCH * len(JOBS)):
        for job_id in dict.fromkeys(JOBS):
            numbers = [n for n in range(first, first + BATCH * len(JOBS)) if JOBS[n % len(JOBS)] == job_id]
            store.change(job_id, batch(job_id, [n for n in numbers if n < fires]))


def batch(job_id: str, numbers: Sequence[int]) -> Callable[[Record, Moment], tuple[Record, None]]:
    def step(kept: Record, moment: Moment) -> tuple[Record, None]:
        entries, runs = [], []
        for n in numbers:
            at, failed = START + timedelta(minutes=n), n % 20 == 0
            state = FireState.FAILED if failed else FireState.SUCCEEDED
            entries.append(Entry(job_id, scheduled_key(at), at, state, attempts=1, settled_at=at))
            ended = RunState.FAILED if failed else RunState.SUCCEEDED
            runs.append(Run(f"{job_id}:{n}", job_id, scheduled_key(at), at, 1, n, "task", {}, ended, claimed_at=at))
        return replace(kept, entries=tuple(entries), runs=tuple(runs)), None

    return step


def measure(name: str, store: Store, rounds: int) -> None:
    print(f"{name:<12}{'page 1':>12}{'deep page':>12}{'ratio':>8}")
    filters: dict[str, dict[str, Any]] = {
        "all": {}, "one job": {"job_id": "often"}, "its failed": {"job_id": "often", "states": [FireState.FAILED]},
        "two states": {"states": [FireState.FAILED, FireState.INTERRUPTED]},
    }  # fmt: skip
    for title, chosen in filters.items():
        before, number = deep_place(store, chosen)
        first, deep = in_turn(
            rounds, lambda c=chosen: store.fires(limit=PAGE, **c),
            lambda c=chosen, b=before: store.fires(limit=PAGE, before=b.place, **c),
        )  # fmt: skip
        print(f"  {title:<10}{first:>9.2f} ms{deep:>9.2f} ms{deep / first:>8.2f}   page {number}")
    place, number = deep_place(store, {})
    newest, oldest = store.fires(limit=PAGE), store.fires(limit=PAGE, before=place.place)
    first, deep = in_turn(rounds, lambda: store.runs_of(newest), lambda: store.runs_of(oldest))
    print(f"  {'runs of it':<10}{first:>9.2f} ms{deep:>9.2f} ms{deep / first:>8.2f}   page {number}")
    first, deep = in_turn(3, lambda: store.fires(limit=PAGE), lambda: store.fires(limit=PAGE * number))
    print(f"  {'as before':<10}{first:>9.2f} ms{deep:>9.2f} ms{deep / first:>8.0f}   the newest {PAGE * number}")
    trim(store)


def trim(store: Store) -> None:
    """What a step of trimming takes that forgets 500 fires with their runs, and one that finds nothing to forget."""
    full, idle = [], []
    while len(full) < 20:
        began = time.perf_counter()
        if store.trim(Keep(fires=5_000, span=timedelta(days=1))) == 500:
            full.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        store.trim(Keep(fires=10**6, span=timedelta(days=1)))
        idle.append((time.perf_counter() - began) * 1000)
    print(f"  trimming 500 fires: {statistics.median(full):.1f} ms; nothing: {statistics.median(idle):.1f} ms\n")


def deep_place(store: Store, chosen: dict[str, Any]) -> tuple[Entry, int]:
    """The fire that a deep page begins behind, and the page's number."""
    found = store.fires(limit=PAGE * (DEEP - 1), **chosen)
    number = DEEP if len(found) == PAGE * (DEEP - 1) else len(found) // PAGE
    return found[PAGE * (number - 1) - 1], number


def in_turn(rounds: int, *questions: Callable[[], object]) -> list[float]:
    """The median time of each, in milliseconds."""
    times: list[list[float]] = [[] for _ in questions]
    for number in range(rounds + 1):
        for question, taken in zip(questions, times, strict=True):
            began = time.perf_counter()
            question()
            if number:
                taken.append((time.perf_counter() - began) * 1000)
    return [statistics.median(taken) for taken in times]


@contextmanager
def sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/bench.db"


@contextmanager
def postgresql() -> Iterator[str]:
    import psycopg  # noqa: PLC0415 - an extra: without it the other stores are measured.

    name = f"hermes_cron_bench_{uuid.uuid4().hex}"
    server = "postgresql://127.0.0.1:5432/test"
    with psycopg.connect(server, connect_timeout=3, autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {name}")
        try:
            yield f"{server}?options=-csearch_path%3D{name}"
        finally:
            admin.execute(f"DROP SCHEMA {name} CASCADE")


@contextmanager
def redis() -> Iterator[str]:
    import redis as library  # noqa: PLC0415 - as above.

    prefix, server = f"hcb-{uuid.uuid4().hex}:", "redis://127.0.0.1:6379/0"
    with library.Redis.from_url(server, socket_timeout=60) as client:
        client.ping()
        try:
            yield f"{server}?prefix={prefix}"
        finally:
            for key in client.scan_iter(f"{prefix}*", count=1000):
                client.unlink(key)


if __name__ == "__main__":
    main()
