"""What a PostgreSQL server can do to us: be away, be silent, break a connection, lose the answer to a commit."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy.engine import make_url

from hermes_cron.arm import Arm
from hermes_cron.errors import StoreError
from hermes_cron.record import Moment, Record
from hermes_cron.store import open_store

psycopg = pytest.importorskip("psycopg", reason="postgres: psycopg is not installed")
Postgres = pytest.importorskip("hermes_cron.store.postgres").Postgres


SERVER = os.environ.get("HERMES_CRON_TEST_POSTGRES", "postgresql://127.0.0.1:5432/test")
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


class Proxy:
    """A connection in the middle, that can break at the next commit, before or after the server heard of it."""

    def __init__(self) -> None:
        self.break_at = ""
        self.silent = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        server = urlsplit(SERVER)
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            upstream = socket.create_connection((server.hostname, server.port or 5432))
            threading.Thread(target=self._ask, args=(client, upstream), daemon=True).start()
            threading.Thread(target=self._answer, args=(client, upstream), daemon=True).start()

    def _ask(self, client: socket.socket, upstream: socket.socket) -> None:
        while data := _received(client):
            if self.break_at and b"COMMIT\0" in data:
                client.shutdown(socket.SHUT_RDWR)
                if self.break_at == "after":
                    upstream.sendall(data)
                    _received(upstream)
                self.break_at = ""
                break
            upstream.sendall(data)
        with suppress(OSError):
            upstream.shutdown(socket.SHUT_RDWR)

    def _answer(self, client: socket.socket, upstream: socket.socket) -> None:
        while data := _received(upstream):
            if self.silent:
                continue
            try:
                client.sendall(data)
            except OSError:
                break
        client.close()


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


@pytest.fixture
def name() -> str:
    return f"hermes_cron_test_{uuid.uuid4().hex}"


@pytest.fixture
def admin(name: str) -> Iterator[Any]:
    """A connection beside the store's, and a schema for it."""
    try:
        connection = psycopg.connect(SERVER, connect_timeout=30, autocommit=True)
    except psycopg.OperationalError as error:
        pytest.skip(f"postgres: no server answers ({str(error).splitlines()[0]})")
    with connection:
        connection.execute(f"CREATE SCHEMA {name}")
        yield connection
        connection.execute(f"DROP SCHEMA {name} CASCADE")


def url_of(name: str, port: int | None = None) -> str:
    parts = urlsplit(SERVER)
    if port is not None:
        parts = parts._replace(netloc=parts.netloc.replace(f":{parts.port or 5432}", f":{port}"))
    query = f"application_name={name[:60]}&sslmode=disable&options=-csearch_path%3D{name}"
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, query]))))


def one_more(record: Record, moment: Moment) -> tuple[Record, int]:
    """Named instants serve as a tally."""
    named = (*record.arm.named, NOON)
    return replace(record, arm=Arm(named=named)), len(named)


@pytest.mark.postgres
def test_a_connection_that_the_server_ended_is_replaced(admin: Any, name: str) -> None:
    with closing(open_store(url_of(name))) as store:
        assert store.change("_wake.1", one_more) == 1
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", (name[:60],)
        )
        assert store.change("_wake.1", one_more) == 2


@pytest.mark.postgres
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_change_whose_commit_was_not_answered_is_applied_once(admin: Any, name: str, when: str) -> None:
    with closing(Proxy()) as proxy, closing(open_store(url_of(name, proxy.port))) as store:
        assert store.change("_wake.1", one_more) == 1
        proxy.break_at = when
        assert store.change("_wake.1", one_more) == 2
        assert proxy.break_at == ""
        assert store.change("_wake.1", lambda kept, moment: (kept, len(kept.arm.named))) == 2


@pytest.mark.postgres
def test_a_server_that_falls_silent_is_given_up_and_then_found_again(admin: Any, name: str) -> None:
    with closing(Proxy()) as proxy, closing(open_store(url_of(name, proxy.port), deadline=2)) as store:
        assert store.change("_wake.1", one_more) == 1
        proxy.silent = True
        with pytest.raises(StoreError, match="no answer within the deadline"):
            store.change("_wake.1", one_more)
        proxy.silent = False
        assert store.change("_wake.1", one_more) == 2


@pytest.mark.postgres
def test_a_commit_is_durable_whatever_the_servers_default_is(admin: Any, name: str) -> None:
    url = url_of(name).replace("options=", "options=-csynchronous_commit%3Doff%20")
    engine = Postgres(make_url(url).set(drivername="postgresql+psycopg"), 3.0).engine()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    engine.dispose()


@pytest.mark.postgres
def test_another_programs_schema_is_left_alone(admin: Any, name: str) -> None:
    admin.execute(f"CREATE TABLE {name}.jobs (name text)")
    with closing(open_store(url_of(name))) as store, pytest.raises(StoreError, match="another program's tables"):
        store.now()


def test_a_server_that_is_away_is_named_without_the_password() -> None:
    # Its port is bound, and nobody listens.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        store = open_store(f"postgresql://user:hush-hush@127.0.0.1:{port}/cron")
        with pytest.raises(StoreError, match=rf"The store postgresql://127\.0\.0\.1:{port}/cron failed") as caught:
            store.now()
    assert "hush-hush" not in str(caught.value) + repr(caught.value.__cause__)


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        store = open_store(f"postgresql://127.0.0.1:{listener.getsockname()[1]}/cron", deadline=0.1)
        with pytest.raises(StoreError, match="timeout"):
            store.now()
