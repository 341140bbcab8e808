"""What the way to a Redis server can do to a change, what others can do to our keys, and what indexes must tell."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes_cron.arm import Arm
from hermes_cron.errors import StoreError
from hermes_cron.interfaces import Store
from hermes_cron.job import Job
from hermes_cron.ledger import DEAD_LETTER, Entry, FireState
from hermes_cron.record import Moment, Record
from hermes_cron.schedule import Schedule
from hermes_cron.store import open_store
from tests.conformance.brokers import redis_url  # noqa: F401 - a fixture, found here by name.
from tests.conformance.test_store import arms, records
from tests.unit.store.proxy import RedisProxy

pytestmark = pytest.mark.redis

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
sentinels = st.builds(Record, st.just("_wake.1"), arm=arms)


@pytest.fixture
def url(redis_url: str) -> Iterator[str]:  # noqa: F811 - the fixture.
    """Keys of a test's own on the server."""
    prefix = f"hct-{uuid.uuid4().hex}:"
    yield f"{redis_url}?prefix={prefix}"
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(f"{prefix}*", count=1000):
            client.delete(key)


@pytest.fixture
def proxy(url: str) -> Iterator[RedisProxy]:
    """A connection in the middle."""
    with closing(RedisProxy(url)) as new:
        yield new


def one_more(record: Record, moment: Moment) -> tuple[Record, int]:
    """Named instants serve as a tally."""
    named = (*record.arm.named, NOON)
    return replace(record, arm=Arm(named=named)), len(named)


def tally(record: Record, moment: Moment) -> tuple[Record, int]:
    return record, len(record.arm.named)


def test_a_connection_that_the_server_ended_is_replaced(proxy: RedisProxy) -> None:
    with closing(open_store(proxy.url)) as store:
        assert store.change("_wake.1", one_more) == 1
        proxy.cut()
        assert store.change("_wake.1", one_more) == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_change_whose_write_was_not_answered_is_applied_once(proxy: RedisProxy, when: str) -> None:
    with closing(open_store(proxy.url)) as store:
        assert store.change("_wake.1", one_more) == 1
        proxy.break_at = when
        assert store.change("_wake.1", one_more) == 2
        assert proxy.break_at == ""
        assert store.change("_wake.1", tally) == 2


def test_a_change_is_found_again_though_others_have_written_since(proxy: RedisProxy, url: str) -> None:
    with closing(open_store(proxy.url)) as store, closing(open_store(url)) as other:
        assert store.change("_wake.1", one_more) == 1
        proxy.break_at = "after"
        proxy.on_break = lambda: other.change("_wake.1", one_more)
        assert store.change("_wake.1", one_more) == 2
        assert other.change("_wake.1", tally) == 3


def test_a_write_that_arrives_after_it_was_given_up_does_nothing(proxy: RedisProxy, url: str) -> None:
    with closing(open_store(proxy.url)) as store, closing(open_store(url)) as other:
        assert store.change("_wake.1", one_more) == 1
        proxy.break_at = "late"
        assert store.change("_wake.1", one_more) == 2
        proxy.deliver()
        assert other.change("_wake.1", tally) == 2


def test_a_write_that_was_given_up_stays_so_though_nothing_was_written_instead(proxy: RedisProxy, url: str) -> None:
    def once(record: Record, moment: Moment) -> tuple[Record, int]:
        if tried:
            raise ValueError
        tried.append(True)
        return one_more(record, moment)

    tried: list[bool] = []
    with closing(open_store(proxy.url)) as store, closing(open_store(url)) as other:
        assert store.change("_wake.1", one_more) == 1
        proxy.break_at = "late"
        with pytest.raises(ValueError):  # noqa: PT011 - It has no words.
            store.change("_wake.1", once)
        proxy.deliver()
        assert other.change("_wake.1", tally) == 1


def test_a_write_that_nobody_could_ask_about_does_nothing_after_the_deadline(proxy: RedisProxy, url: str) -> None:
    with closing(open_store(proxy.url, deadline=2)) as store, closing(open_store(url)) as other:
        assert store.change("_wake.1", one_more) == 1
        proxy.break_at = "late"
        proxy.on_break = proxy.fall_silent
        with pytest.raises(StoreError, match="Whether the change was still written is not known"):
            store.change("_wake.1", one_more)
        proxy.deliver()
        assert other.change("_wake.1", tally) == 1


def test_a_server_that_falls_silent_is_given_up_and_then_found_again(proxy: RedisProxy) -> None:
    with closing(open_store(proxy.url, deadline=2)) as store:
        assert store.change("_wake.1", one_more) == 1
        proxy.fall_silent()
        with pytest.raises(StoreError, match="cannot be reached"):
            store.change("_wake.1", one_more)
        proxy.speak()
        assert store.change("_wake.1", tally) == 1


def test_i15_a_change_that_outlasts_its_hold_is_not_written_after_a_stop(url: str) -> None:
    seen = []

    def begin(record: Record, moment: Moment) -> tuple[Record, int]:
        seen.append(moment.stopped)
        if len(seen) == 1:
            other.set_stopped(True)
        return one_more(record, moment)

    with closing(open_store(url, deadline=60)) as store, closing(open_store(url, deadline=60)) as other:
        assert store.change("_wake.1", begin) == 1
        assert seen == [False, True]


def test_i5_a_change_that_outlasts_its_hold_is_taken_again_on_what_others_wrote(url: str) -> None:
    def slow(record: Record, moment: Moment) -> tuple[Record, int]:
        if not record.arm.named:
            other.change("_wake.1", one_more)
        return one_more(record, moment)

    with closing(open_store(url, deadline=60)) as store, closing(open_store(url, deadline=60)) as other:
        assert store.change("_wake.1", slow) == 2


def test_a_step_that_fails_lets_the_next_one_in_at_once(url: str) -> None:
    def fails(record: Record, moment: Moment) -> tuple[Record, None]:
        raise ValueError

    def next_one() -> bool:
        with pytest.raises(ValueError):  # noqa: PT011 - It has no words.
            store.change("_wake.1", fails)
        with suppress(StoreError):
            hurried.change("_wake.1", one_more)
            return True
        return False

    # What is not let go stays held for a second; a busy machine may hold up one try for longer than that, hardly all.
    with closing(open_store(url)) as store, closing(open_store(url, deadline=0.5)) as hurried:
        assert any(next_one() for _ in range(5))


def keys(url: str) -> tuple[Any, str]:
    """A client beside the store, and the prefix."""
    address, _, prefix = url.partition("?prefix=")
    return redis.Redis.from_url(address, decode_responses=True), prefix


def test_a_store_that_was_emptied_is_not_taken_for_a_new_one(url: str) -> None:
    client, prefix = keys(url)
    with closing(open_store(url)) as store, client:
        store.change("_wake.1", one_more)
        client.delete(*client.keys(f"{prefix}*"))
        for use in (store.now, store.jobs, lambda: store.change("_wake.1", one_more), lambda: store.set_stopped(True)):
            with pytest.raises(StoreError, match="has lost what it kept"):
                use()
        assert client.keys(f"{prefix}*") == []


def test_a_store_of_a_newer_version_is_left_alone(url: str) -> None:
    client, prefix = keys(url)
    with closing(open_store(url)) as store, client:
        store.now()
        client.hset(f"{prefix}meta", "schema", 99)
        with pytest.raises(StoreError, match="made by a newer hermes-cron"):
            store.now()
        with closing(open_store(url)) as newcomer, pytest.raises(StoreError, match="made by a newer hermes-cron"):
            newcomer.now()


def test_another_programs_keys_are_left_alone(url: str) -> None:
    client, prefix = keys(url)
    with closing(open_store(url)) as store, client:
        client.set(f"{prefix}jobs", "mine")
        with pytest.raises(StoreError, match="belongs to another program"):
            store.now()
        assert client.keys(f"{prefix}*") == [f"{prefix}jobs"]


def test_a_damaged_job_harms_no_other(url: str, caplog: pytest.LogCaptureFixture) -> None:
    client, prefix = keys(url)
    with closing(open_store(url)) as store, client:
        for name in ("a", "b"):
            made = Record(name, Job(name, "task", Schedule("cron", "0 * * * *")), Arm(wake_at=NOON))
            store.change(name, lambda kept, moment, made=made: (made, None))
        client.hset(f"{prefix}job:a", mapping={"job": "{}", "arm": "[]"})
        assert [record.job_id for record in store.jobs()] == ["b"]
        assert [record.arm.wanted for record in store.arms()] == [True, True]
        with pytest.raises(StoreError, match="of arm 'a' was damaged"):
            store.read("a")
        for _ in range(2):
            with pytest.raises(StoreError, match="of arm 'a' was damaged"):
                store.change("a", tally)
    assert "row of arm 'a' was damaged" in caplog.text


def test_only_receipts_have_an_end_and_nothing_else_is_left_of_what_is_blank(url: str) -> None:
    client, prefix = keys(url)
    with closing(open_store(url)) as store, client:
        waiting = Entry("a", "k", NOON, FireState.WAITING)
        made = Record("a", Job("a", "task", Schedule("cron", "0 * * * *")), Arm(wake_at=NOON), entries=(waiting,))
        store.change("a", lambda kept, moment: (made, None))
        settled = waiting.settle(FireState.SKIPPED, "", NOON)
        store.change("a", lambda kept, moment: (Record("a", entries=(settled,)), None))
        left = {key.removeprefix(prefix) for key in client.keys(f"{prefix}*")}
        ends = {name for name in left if client.ttl(f"{prefix}{name}") > 0}
    assert {name.partition(":")[0] for name in ends} == {"receipt"}
    assert left - ends == {"meta", "fires", "fires-in:skipped", "fires-in:skipped:a", "chapters", "chapters:a"}


def test_threads_of_one_store_do_not_read_each_others_answers(url: str) -> None:
    wrong = []

    def ask(name: str) -> None:
        for _ in range(30):
            store.change(name, one_more)
            if store.read(name).job_id != name:
                wrong.append(name)

    with closing(open_store(url)) as store:
        threads = [threading.Thread(target=ask, args=(f"_wake.{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [store.change(f"_wake.{n}", tally) for n in range(4)] == [30] * 4
    assert wrong == []


STORM = """
import logging, sys
from dataclasses import replace
from hermes_cron.ledger import Entry, FireState
from hermes_cron.store import open_store

def one_more(record, moment):
    job = replace(record.job, counted=record.job.counted + 1)
    settled = Entry(job.id, f"k{job.counted}", moment.now, FireState.SUCCEEDED, settled_at=moment.now)
    return replace(record, job=job, entries=(*record.entries, settled)), job.counted

logging.disable(logging.WARNING)
store = open_store(sys.argv[1], deadline=60)
for n in range(int(sys.argv[2])):
    store.change("ab"[n % 2], one_more)
    assert len(store.fires("a", limit=5)) <= 5 and store.load(60).dead_leases == 0
"""


@pytest.mark.processes
@pytest.mark.timeout(400)
def test_sixteen_processes_lose_nothing(url: str) -> None:
    hourly = Schedule("cron", "0 * * * *")
    with closing(open_store(url)) as store:
        for name in "ab":
            store.change(name, lambda kept, moment, name=name: (Record(name, Job(name, "task", hourly)), None))
        command = [sys.executable, "-c", STORM, url, "20"]
        storm = [subprocess.Popen(command, text=True, stderr=subprocess.PIPE) for _ in range(16)]
        assert [process.communicate(timeout=300)[1] for process in storm] == [""] * 16
        for name in "ab":
            record = store.read(name)
            assert record is not None
            assert record.job is not None
            assert record.job.counted == 160
            assert {entry.key for entry in store.fires(name, limit=1000)} == {f"k{n}" for n in range(1, 161)}


@pytest.mark.timeout(900)  # Thirty stores in two databases, on a disk that may be busy.
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=st.lists(records("a") | records("b") | sentinels, max_size=5))
def test_its_indexes_tell_what_a_search_of_everything_does(redis_url: str, tmp_path: Any, made: list[Record]) -> None:  # noqa: F811 - the fixture.
    name = uuid.uuid4().hex
    url, file = f"{redis_url}?prefix=hct-{name}:", f"sqlite:///{tmp_path}/{name}.db"
    client, prefix = keys(url)
    with closing(open_store(url)) as ours, closing(open_store(file)) as theirs, client:
        for record in made:
            for store in (ours, theirs):
                with suppress(StoreError):
                    store.change(record.job_id, lambda kept, moment, record=record: (record, None))
        for stopped in (False, True):
            ours.set_stopped(stopped)
            theirs.set_stopped(stopped)
            assert answers_of(ours) == answers_of(theirs)
        client.delete(*client.keys(f"{prefix}*"))


def answers_of(store: Store) -> list[object]:
    """What a store answers; far instants in no order, for an index knows them to a fraction of a millisecond only."""
    wake = store.next_wake()
    return [
        store.overdue(10), set(store.wanted(10)), wake and round(wake.timestamp()), store.load(60), store.jobs(),
        store.arms(), {(e.job_id, e.key): e for e in store.fires()}, {run.id: run for run in store.runs()},
        {(e.job_id, e.key) for e in store.fires(states=DEAD_LETTER)},
        {e.key for e in store.fires("a", states=[FireState.WAITING])}, store.read("a"), store.read("_wake.1"),
    ]  # fmt: skip


logging.getLogger("fakeredis").setLevel(logging.ERROR)
