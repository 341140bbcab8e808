"""The stores that the conformance suite is run against, each test in a place of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

from hermes_cron.clock import utc_now
from hermes_cron.interfaces import Store
from hermes_cron.store import open_store
from hermes_cron.virtual.memory import MemoryStore
from tests.conformance.brokers import amqp_url, ground, redis_url  # noqa: F401 - fixtures, found here by name.

POSTGRES = os.environ.get("HERMES_CRON_TEST_POSTGRES", "postgresql://127.0.0.1:5432/test")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "postgres: needs a PostgreSQL server (HERMES_CRON_TEST_POSTGRES)")


@dataclass
class Place:
    """Where a store is kept: open it as often as a test needs."""

    url: str
    preamble: str = ""
    opened: list[Store] = field(default_factory=list)

    def open(self, **options: Any) -> Store:
        """A store here."""
        self.opened.append(open_store(self.url, **options))
        return self.opened[-1]

    def start(self, script: str, *arguments: object) -> subprocess.Popen[str]:
        """A process of its own that runs `script` with this URL and these arguments."""
        command = [sys.executable, "-c", self.preamble + script, self.url, *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe)


KINDS = ("sqlite", pytest.param("postgresql", marks=pytest.mark.postgres), "redis")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A new, empty place."""
    yield from _place(request, tmp_path)


@pytest.fixture(params=(*KINDS, "memory"))
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A new, empty store: of every kind, and the one that the simulation keeps in memory."""
    if request.param == "memory":
        yield MemoryStore(utc_now)
        return
    for new in _place(request, tmp_path):
        yield new.open()


def _place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        new = Place(f"sqlite:///{tmp_path}/store/hermes-cron.db")
        yield new
        for store in new.opened:
            store.close()
        return
    if request.param == "redis":
        yield from _prefix(request.getfixturevalue("redis_url"))
    else:
        yield from _schema()


@pytest.fixture
def store(place: Place) -> Store:
    """A new, empty store."""
    return place.open()


def _prefix(server: str) -> Iterator[Place]:
    """Keys of its own on the Redis server."""
    prefix = f"hct-{uuid.uuid4().hex}:"
    # A test's server may be one that keeps nothing on disk, and processes say so on stderr.
    new = Place(f"{server}?prefix={prefix}", "import logging; logging.disable(logging.WARNING)\n")
    yield new
    for store in new.opened:
        store.close()
    with redis.Redis.from_url(server) as client:
        for key in client.scan_iter(f"{prefix}*", count=1000):
            client.delete(key)


def _schema() -> Iterator[Place]:
    psycopg = pytest.importorskip("psycopg", reason="postgres: psycopg is not installed")
    name = f"hermes_cron_test_{uuid.uuid4().hex}"
    try:
        admin = psycopg.connect(POSTGRES, connect_timeout=30, autocommit=True)
    except psycopg.OperationalError as error:
        pytest.skip(f"postgres: no server answers ({str(error).splitlines()[0]})")
    with admin:
        admin.execute(f"CREATE SCHEMA {name}")
        parts = urlsplit(POSTGRES)
        query = "&".join(filter(None, [parts.query, f"options=-csearch_path%3D{name}"]))
        new = Place(urlunsplit(parts._replace(query=query)))
        yield new
        for store in new.opened:
            store.close()
        admin.execute(f"DROP SCHEMA {name} CASCADE")
