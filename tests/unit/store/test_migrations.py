"""A store of an older schema is led on to this one: nothing is lost, and pages are found by the new indexes."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

from hermes_cron.errors import StoreError
from hermes_cron.interfaces import Store
from hermes_cron.ledger import DEAD_LETTER, FireState
from hermes_cron.output import Line, Output
from hermes_cron.run import RunState
from hermes_cron.store import open_store
from tests.conformance.brokers import redis_url  # noqa: F401 - a fixture, found here by name.

SCHEMA1 = Path(__file__).parent / "schema1"
POSTGRES = os.environ.get("HERMES_CRON_TEST_POSTGRES", "postgresql://127.0.0.1:5432/test")
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def made_sqlite(tmp_path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.executescript((SCHEMA1 / "sqlite.sql").read_text())
    yield f"sqlite:///{tmp_path}/a.db"


def made_postgres() -> Iterator[str]:
    psycopg = pytest.importorskip("psycopg", reason="postgres: psycopg is not installed")
    try:
        admin = psycopg.connect(POSTGRES, connect_timeout=30, autocommit=True)
    except psycopg.OperationalError as error:
        pytest.skip(f"postgres: no server answers ({str(error).splitlines()[0]})")
    name = f"hermes_cron_test_{uuid.uuid4().hex}"
    with admin:
        admin.execute(f"CREATE SCHEMA {name}")
        admin.execute(f"SET search_path = {name}")
        admin.execute((SCHEMA1 / "postgres.sql").read_text())
        parts = urlsplit(POSTGRES)
        yield urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, f"options=-csearch_path%3D{name}"]))))
        admin.execute(f"DROP SCHEMA {name} CASCADE")


def made_redis(server: str, times: int = 1) -> Iterator[str]:
    """The old keys; with each fire and run so many times over, under keys of its own."""
    prefix = f"hct-{uuid.uuid4().hex}:"
    with redis.Redis.from_url(server, decode_responses=True) as client:
        pipe = client.pipeline()
        for line in (SCHEMA1 / "redis.jsonl").read_text().splitlines():
            command, key, *rest = json.loads(line)
            for n in range(times):
                pipe.execute_command(command, prefix + key, *(again(key, part, n) for part in rest))
        pipe.execute()
        yield f"{server}?prefix={prefix}"
        for key in client.scan_iter(f"{prefix}*", count=1000):
            client.delete(key)


def again(key: str, part: str, n: int) -> str:
    if n == 0 or key.startswith(("open-", "job:", "meta", "jobs", "arms")):
        return part
    return re.sub(r"^([ab]:\d)$|(?<=\0)(2026-\S+)|(?<=\"id\":\")([^\"]+)|(?<=\"key\":\")([^\"]+)", rf"\g<0>+{n}", part)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres), "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store of schema 1 with two jobs, each with four fires: one succeeded, failed, was missed, and runs."""
    if request.param == "sqlite":
        yield from made_sqlite(tmp_path)
    elif request.param == "redis":
        yield from made_redis(request.getfixturevalue("redis_url"))
    else:
        yield from made_postgres()


def states(store: Store, **options: Any) -> list[str]:
    return [str(entry.state) for entry in store.fires(**options)]


def test_it_keeps_every_fire_and_run_of_a_store_of_schema_1(url: str) -> None:
    with closing(open_store(url)) as store:
        assert states(store, job_id="a") == ["running", "missed", "failed", "succeeded"]
        assert states(store) == [state for state in states(store, job_id="b") for _ in "ab"]
        assert {(e.job_id, e.key) for e in store.fires(states=DEAD_LETTER)} == {
            (name, (NOON + timedelta(hours=1)).isoformat()) for name in "ab"
        }
        fires = store.fires()
        assert store.fires(limit=3, before=fires[2].place) == fires[3:6]
        assert {run.id for run in store.runs_of(fires)} == {f"{name}:{n}" for name in "ab" for n in (0, 1, 3)}
        assert store.output("a:0") is None
        assert store.trims() == {}
        record = store.read("a")
        assert record is not None
        ended = replace(record.runs[0], state=RunState.SUCCEEDED)
        settled = record.entries[0].settle(FireState.SUCCEEDED, "", NOON)
        store.change("a", lambda kept, moment: (replace(kept, runs=(ended,), entries=(settled,)), None))
        assert states(store, job_id="a", states=[FireState.RUNNING]) == []
        assert states(store, states=[FireState.SUCCEEDED]) == ["succeeded"] * 3
    with closing(open_store(url)) as store:
        assert len(store.fires()) == 8, "it is led on once, and stays so"


def test_many_who_open_it_at_once_lead_it_on_once(url: str) -> None:
    stores = [open_store(url, deadline=60) for _ in range(6)]
    found: list[object] = []

    def look(store: Store) -> None:
        try:
            found.append(states(store))
        except StoreError as error:
            found.append(error)

    threads = [threading.Thread(target=look, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [states(stores[0])] * 6
    for store in stores:
        store.close()


@pytest.mark.redis
def test_on_redis_it_is_done_a_little_at_a_time_while_an_old_process_still_writes(redis_url: str) -> None:  # noqa: F811 - the fixture.
    for url in made_redis(redis_url, times=700):
        prefix = url.partition("prefix=")[2]
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            assert client.zcard(f"{prefix}fires-at") == 5600
            store = open_store(url)
            store._server._deadline = 0.0  # type: ignore[attr-defined] # one step only: it is given up at once.
            while not client.exists(f"{prefix}fires-in:running"):
                with pytest.raises(StoreError, match="brought to a newer schema"):
                    store.stopped()
            assert 0 < client.zcard(f"{prefix}fires-at") < 5600
            assert client.hget(f"{prefix}meta", "schema") == "1"
            member = client.zrange(f"{prefix}fires-in:running", 0, 0)[0]
            row = json.loads(client.hget(f"{prefix}fires", member) or "")
            client.hset(f"{prefix}fires", member, json.dumps(row | {"state": "failed", "open": 0}))
            client.zadd(f"{prefix}fires-at", {member: row["fire_at"]})
            store.close()
        with closing(open_store(url)) as store:
            assert len(store.fires(limit=10_000)) == 5600
            assert len(store.fires(states=[FireState.FAILED], limit=10_000)) == 1401
            assert len(store.fires(states=[FireState.RUNNING], limit=10_000)) == 1399
            assert len(store.runs_of(store.fires(limit=10_000))) == 4200
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            assert client.hget(f"{prefix}meta", "schema") == "2"
            assert not client.exists(f"{prefix}fires-at", f"{prefix}fires-at:a", f"{prefix}dead")


def test_what_runs_say_is_kept_in_a_store_of_schema_1_from_now_on(url: str) -> None:
    said = Output((Line(NOON, "stdout", "high water"),))
    with closing(open_store(url)) as store:
        ended = store.runs(run_id="a:0")[0]
        assert store.output(ended.id) is None
        store.keep_output(ended, said)
    with closing(open_store(url)) as store:
        assert store.output("a:0") == said
