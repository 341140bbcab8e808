"""A run to call tasks with, and a server to be called by them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hermes_cron.run import Run, never_cancelled

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
MakeRun = Callable[..., Run]


@pytest.fixture
def make_run() -> MakeRun:
    def make(stop: Callable[[], bool] = never_cancelled, deadline: datetime | None = None) -> Run:
        key = "backup:2026-07-01T12:00:00+00:00"
        return Run("r1", "backup", key, NOON, 2, 7, "any", {}, deadline=deadline, stop_asked=stop)

    return make


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    return make_run()


@dataclass
class Target:
    """What the server is asked, and what it answers."""

    url: str
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    gate: threading.Event | None = None
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def target() -> Iterator[Target]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            names = {name.lower(): value for name, value in self.headers.items()}
            here.asked.append((self.command, self.path, names, body))
            if here.gate is not None:
                here.gate.wait(100)
            self.send_response(here.status)
            for name, value in here.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(here.body)))
            self.end_headers()
            try:
                self.wfile.write(here.body)
            except OSError:
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Target(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield here
    if here.gate is not None:
        here.gate.set()
    server.shutdown()
    server.server_close()
    thread.join(60)


def wait_for(answer: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it became so in time: for other processes, to which no clock can be passed."""
    until = time.monotonic() + seconds
    while not answer():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(name="wait_for")
def wait_for_fixture() -> Callable[..., bool]:
    return wait_for
