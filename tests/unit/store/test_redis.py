"""What a Redis server can do to us: be away, be silent, lose an answer, write late, forget, be the wrong one."""

from __future__ import annotations

import logging
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from hermes_cron.arm import Arm
from hermes_cron.errors import ConfigError, StoreError
from hermes_cron.job import Job
from hermes_cron.ledger import Entry, FireState
from hermes_cron.record import Moment, Record
from hermes_cron.schedule import Schedule
from hermes_cron.store import open_store
from tests.conformance.brokers import redis_url, until  # noqa: F401 - a fixture, found here by name.
from tests.unit.store.proxy import RedisProxy
from tests.unit.transport.conftest import RedisServer, server  # noqa: F401 - a fixture, found here by name.

pytestmark = pytest.mark.redis

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


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


def test_a_write_that_nobody_could_ask_about_does_nothing_after_the_deadline(proxy: RedisProxy, url: str) -> None:
    with closing(open_store(proxy.url, deadline=0.4)) as store, closing(open_store(url)) as other:
        assert store.change("_wake.1", one_more) == 1
        proxy.break_at = "late"
        proxy.on_break = proxy.fall_silent
        with pytest.raises(StoreError, match="Whether the change was still written is not known"):
            store.change("_wake.1", one_more)
        proxy.deliver()
        assert other.change("_wake.1", tally) == 1


def test_a_server_that_falls_silent_is_given_up_and_then_found_again(proxy: RedisProxy) -> None:
    with closing(open_store(proxy.url, deadline=0.5)) as store:
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

    with closing(open_store(url)) as store, closing(open_store(url)) as other:
        assert store.change("_wake.1", begin) == 1
        assert seen == [False, True]


def test_i5_a_change_that_outlasts_its_hold_is_taken_again_on_what_others_wrote(url: str) -> None:
    def slow(record: Record, moment: Moment) -> tuple[Record, int]:
        if not record.arm.named:
            other.change("_wake.1", one_more)
        return one_more(record, moment)

    with closing(open_store(url)) as store, closing(open_store(url)) as other:
        assert store.change("_wake.1", slow) == 2


def test_a_step_that_fails_lets_the_next_one_in_at_once(url: str) -> None:
    def fails(record: Record, moment: Moment) -> tuple[Record, None]:
        raise ValueError

    with closing(open_store(url, deadline=0.5)) as store:
        with pytest.raises(ValueError):  # noqa: PT011 - It has no words.
            store.change("_wake.1", fails)
        assert store.change("_wake.1", one_more) == 1


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
    assert left - ends == {"meta", "fires", "fires-at", "fires-at:a", "chapters", "chapters:a"}


def test_a_question_is_asked_of_indexes(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    def cost() -> list[int]:
        questions = [store.next_wake, store.stopped, lambda: store.load(60), lambda: store.overdue(5),
                     lambda: store.wanted(5), lambda: store.read("j1"), lambda: store.fires(limit=3),
                     lambda: store.runs(limit=3), lambda: store.change("j1", one_more)]  # fmt: skip
        counts = []
        for question in questions:
            question()
            before = commands()
            question()
            counts.append(commands() - before)
        return counts

    def commands() -> int:
        return int(client.info("stats")["total_commands_processed"])

    def fill(first: int, last: int) -> None:
        for n in range(first, last):
            kept = Record(f"j{n}", Job(f"j{n}", "task", Schedule("cron", "0 * * * *")), Arm(wake_at=NOON),
                          entries=(Entry(f"j{n}", "k", NOON, FireState.FAILED),))  # fmt: skip
            store.change(f"j{n}", lambda _, moment, kept=kept: (kept, None))

    with closing(open_store(server.url)) as store, redis.Redis.from_url(server.url) as client:
        fill(0, 10)
        few = cost()
        fill(10, 400)
        assert cost() == few


def test_a_server_that_restarts_keeps_what_is_in_its_append_only_file(server: RedisServer) -> None:  # noqa: F811
    with closing(open_store(server.url)) as store:
        for _ in range(10):
            store.change("_wake.1", one_more)
        server.kill()
        with pytest.raises(StoreError, match="cannot be reached"):
            store.now()
        server.start()
        assert store.change("_wake.1", one_more) == 11


def test_a_server_that_freezes_is_given_up_in_time(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    with closing(open_store(server.url, deadline=0.6)) as store:
        assert store.change("_wake.1", one_more) == 1
        server.freeze()
        with pytest.raises(StoreError, match="cannot be reached"):
            store.change("_wake.1", one_more)
        server.thaw()
        assert store.change("_wake.1", one_more) == 2


def test_a_server_that_drops_keys_when_it_is_full_is_refused(server: RedisServer) -> None:  # noqa: F811
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    server.ask("CONFIG", "SET", "maxmemory", "1gb")
    with closing(open_store(server.url)) as store:
        with pytest.raises(ConfigError, match=r"drops keys when its memory is full.*maxmemory-policy allkeys-lru"):
            store.now()
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        store.now()


def test_a_server_that_is_full_is_told_so_and_still_read(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    with closing(open_store(server.url)) as store:
        store.change("_wake.1", one_more)
        server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StoreError, match="is full: its maxmemory is reached"):
            store.change("_wake.1", one_more)
        assert store.read("_wake.1") == Record("_wake.1", arm=Arm(named=(NOON,)))
        server.ask("CONFIG", "SET", "maxmemory", "0")
        assert store.change("_wake.1", one_more) == 2


def test_a_replica_is_told_from_a_primary(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    with closing(open_store(server.url)) as store:
        store.change("_wake.1", one_more)
        server.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreError, match=r"is a read-only replica.*Name the primary"):
            store.change("_wake.1", one_more)
        server.ask("REPLICAOF", "NO", "ONE")
        assert store.change("_wake.1", one_more) == 2


def pings(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def test_a_cluster_is_refused(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    server.kill()
    with socket.create_server(("127.0.0.1", 0)) as free:
        options = ["--cluster-enabled", "yes", "--cluster-port", str(free.getsockname()[1])]
    server.process = subprocess.Popen([*server.process.args, *options], stdout=subprocess.DEVNULL)
    until(lambda: pings(server.url))
    with closing(open_store(server.url)) as store, pytest.raises(ConfigError, match="is part of a Redis cluster"):
        store.now()


def test_a_server_without_an_append_only_file_is_warned_of(
    server: RedisServer, caplog: pytest.LogCaptureFixture,  # noqa: F811 - the fixture.
) -> None:  # fmt: skip
    server.ask("CONFIG", "SET", "appendonly", "no")
    with closing(open_store(server.url)) as store:
        store.now()
    assert "has no append-only file (appendonly no)" in caplog.text
    assert "canary" not in caplog.text


def test_a_user_who_may_not_ask_for_the_settings_is_warned_and_served(
    server: RedisServer, caplog: pytest.LogCaptureFixture,  # noqa: F811 - the fixture.
) -> None:  # fmt: skip
    server.ask("ACL", "SETUSER", "agent", "on", ">hush", "~hermes-cron:*", "+@all", "-@dangerous")
    with closing(open_store(server.url.replace(":canary@", "agent:hush@"))) as store:
        assert store.change("_wake.1", one_more) == 1
    assert "does not tell its settings" in caplog.text


def test_a_user_who_may_not_use_the_keys_is_told_so(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    server.ask("ACL", "SETUSER", "agent", "on", ">hush", "~other:*", "+@all")
    store = open_store(server.url.replace(":canary@", "agent:hush@"))
    with closing(store), pytest.raises(StoreError, match="does not allow this user what the store needs"):
        store.now()


def test_a_wrong_password_is_told_and_not_repeated(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    store = open_store(server.url.replace("canary", "hush-hush"))
    with closing(store), pytest.raises(StoreError, match="wants another user or password") as caught:
        store.now()
    assert "hush-hush" not in str(caught.value) + repr(caught.value.__cause__)


def test_what_a_failover_kept_is_still_written_once(
    server: RedisServer, tmp_path_factory: pytest.TempPathFactory,  # noqa: F811 - the fixture.
) -> None:  # fmt: skip
    settled = Entry("a", "k", NOON, FireState.SUCCEEDED, settled_at=NOON)
    standby = RedisServer(tmp_path_factory.mktemp("standby"))
    try:
        standby.ask("CONFIG", "SET", "masterauth", "canary")
        standby.ask("REPLICAOF", "127.0.0.1", str(server.port))
        with closing(open_store(server.url)) as store, redis.Redis.from_url(server.url) as client:
            store.change("a", lambda kept, moment: (Record("a", entries=(settled,)), None))
            assert _replicated(client)
        server.kill()
        standby.ask("REPLICAOF", "NO", "ONE")
        with closing(open_store(standby.url)) as store:
            assert store.fires() == [settled]
            with pytest.raises(StoreError, match="has its outcome already"):
                store.change("a", lambda kept, moment: (Record("a", entries=(settled,)), None))
    finally:
        standby.kill()


def _replicated(client: Any) -> bool:
    """Whether a replica has everything, once it was given time."""
    return any(client.execute_command("WAIT", 1, 200) == 1 for _ in range(50))


def test_a_server_that_is_away_is_named_without_the_password() -> None:
    store = open_store("redis://user:hush-hush@127.0.0.1:1/0")
    with pytest.raises(StoreError, match=r"The store redis://127\.0\.0\.1:1/0 cannot be reached") as caught:
        store.now()
    assert "hush-hush" not in str(caught.value) + repr(caught.value.__cause__)


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


logging.getLogger("fakeredis").setLevel(logging.ERROR)
