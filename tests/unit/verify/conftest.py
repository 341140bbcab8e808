"""The fixtures of the verify room: a clock, a JWKS host on loopback, and keys made at test time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import hermes_cron.pinned  # noqa: F401 - what a fetch loads; who waits two seconds for one is not to wait for this.
from tests.unit.verify.mint import FakeClock, Host, Pair, new_pair


@pytest.fixture
def host() -> Iterator[Host]:
    """A JWKS host on loopback."""
    new = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            new.calls += 1
            new.answer(self)

        def log_message(self, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: Any) -> None:
            return

    server = Server(("127.0.0.1", 0), Handler)
    new.url = f"http://127.0.0.1:{server.server_port}/jwks.json"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield new
    new.release.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture(scope="session")
def rsa_pair() -> Pair:
    """An RSA key."""
    return new_pair("RS256", "rsa-1")


@pytest.fixture(scope="session")
def pair() -> Pair:
    """The key that NAS signs with, where the algorithm does not matter."""
    return new_pair("ES256", "es-1")


@pytest.fixture(scope="session")
def other() -> Pair:
    """Another key of the same kind."""
    return new_pair("ES256", "es-2")
