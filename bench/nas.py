"""What one NAS costs as it fills: `python -m bench.nas [arms...]`; by default of 100, 1,000 and 10,000 alarms.

A real `nas serve` and an agent that answers 202, on loopback, anew for each size. Of an agent that holds so many: one
provision, a list of all, and the delivery of a tenth of them (1,000 at most) that are due at one instant while the rest
is held; then the same tenth before a backlog of all the rest, which is due too. What counts is the ratio between rows.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from hermes_cron import contract
from hermes_cron.outbound import Answer, Outbound
from hermes_cron.server import listen, url_of

MOST_DUE = 1000
SINGLE = 50
PATIENCE_S = 600.0


class Agent(ThreadingHTTPServer):
    """Answers 202, and notes when each fire came."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        self.came: list[float] = []
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    """One connection of NAS's."""

    protocol_version = "HTTP/1.1"
    server: Agent

    def do_POST(self) -> None:
        """Take a fire."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append(time.time())
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Filled:
    """A NAS of its own, and one agent of it."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "hermes_cron", "nas"]
        home = ["--home", str(folder / "nas")]
        token = [*command, "agents", "add", *home, "a", "--audience", "agent:a"]
        self._token = subprocess.run(token, check=True, capture_output=True, text=True).stdout.strip()
        sock = listen("127.0.0.1:0")
        self._url = url_of(sock)
        serve = [*command, "serve", *home, "--bind", f"fd://{sock.fileno()}", "--public-url", self._url]
        with (folder / "log").open("w") as log:
            more = ["--allow-private-callbacks", "--settle", "600s", "--calls-per-second", "100000"]
            self.process = subprocess.Popen([*serve, *more], pass_fds=[sock.fileno()], stderr=log)
        sock.close()
        self._outbound = Outbound()
        self.agent = Agent()

    def close(self) -> None:
        """End both."""
        self.process.terminate()
        self.process.wait(60)
        self._outbound.close()
        self.agent.shutdown()

    def arm(self, names: Sequence[str], at: datetime) -> None:
        """Hold these, by batches."""
        for start in range(0, len(names), contract.BATCH_LIMIT):
            items = [self._item(name, at) for name in names[start : start + contract.BATCH_LIMIT]]
            self._call("POST", contract.BATCH_PATH, {"provision": items})

    def one(self, name: str, at: datetime) -> float:
        """Hold one; how many seconds the call took."""
        return self._call("POST", contract.PROVISION_PATH, self._item(name, at))

    def list(self) -> float:
        """Look at all; how many seconds that took."""
        return self._call("GET", contract.LIST_PATH, None)

    def wait_for(self, fires: int) -> float:
        """Wait until so many more have come; how many seconds lay between the first and the last."""
        until = time.monotonic() + PATIENCE_S
        while len(self.agent.came) < fires:
            if time.monotonic() > until:
                raise TimeoutError(f"{len(self.agent.came)} of {fires} fires came")
            time.sleep(0.01)
        found = sorted(self.agent.came)[:fires]
        self.agent.came.clear()
        return found[-1] - found[0]

    def _item(self, name: str, at: datetime) -> dict[str, str]:
        return {"job_id": name, "fire_at": at.isoformat(), "agent_callback_url": self.agent.url}

    def _call(self, method: str, path: str, body: object) -> float:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}"}
        began = time.perf_counter()
        answer: Answer = self._outbound.request(
            method, self._url + path, headers=headers, body=content, deadline=60, max_bytes=1 << 26
        )
        took = time.perf_counter() - began
        if not answer.ok:
            raise RuntimeError(f"{path}: {answer.status} {answer.body[:200]!r}")
        return took


def measure(arms: int) -> None:
    """One row."""
    with tempfile.TemporaryDirectory() as folder:
        nas = Filled(Path(folder))
        try:
            far = datetime.now(UTC) + timedelta(days=30)
            names = [f"job-{number}" for number in range(arms)]
            began = time.perf_counter()
            nas.arm(names, far)
            filled = (time.perf_counter() - began) / arms
            one = statistics.median(nas.one(f"one-{number}", far) for number in range(SINGLE))
            listed = statistics.median(nas.list() for _ in range(3)) / arms
            due = names[: min(MOST_DUE, arms // 10)]
            nas.arm(due, datetime.now(UTC) + timedelta(seconds=3))
            held = nas.wait_for(len(due)) / len(due)
            nas.arm(names, datetime.now(UTC) + timedelta(seconds=3 + arms / 2000))
            behind = nas.wait_for(len(due)) / len(due)
        finally:
            nas.close()
    print(
        f"{arms:>7} arms   batch {filled * 1e3:6.2f} ms an arm   one {one * 1e3:6.1f} ms   list {listed * 1e6:6.1f} us"
        f" an arm   {len(due)} due at once {held * 1e3:6.2f} ms each   of a backlog {behind * 1e3:6.2f} ms each",
        flush=True,
    )


if __name__ == "__main__":
    for size in [int(text) for text in sys.argv[1:]] or (100, 1000, 10_000):
        measure(size)
