"""A whole system as processes on loopback: one NAS, webs, workers, a shared queue, a store, and their user."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from hermes_cron import contract
from hermes_cron.clock import instant_text, utc_now
from hermes_cron.interfaces import Store
from hermes_cron.nas.room import open_keys
from hermes_cron.outbound import Answer, Outbound, OutboundError
from hermes_cron.server import listen, url_of
from hermes_cron.store import open_store

AUDIENCE = "agent:it"
HERE = Path(__file__).parent


@dataclass
class System:
    """Everything in one folder; `broker_url` joins its processes."""

    home: Path
    broker_url: str
    provider: str = "chronos"
    settle: str = "60"
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nas_socket, self.web_socket = listen("127.0.0.1:0"), listen("127.0.0.1:0")
        self.nas_url, self.callback_url = url_of(self.nas_socket), url_of(self.web_socket)
        self.queue = f"hermes-cron-test-{uuid.uuid4().hex[:12]}"
        self.history_file = self.home / "history"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.outbound = Outbound()
        self.token_file = self.home / "token"
        self._store: Store | None = None

    # -- processes ---------------------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HERMES_CRON_")}
        chronos = {
            "PORTAL_URL": self.nas_url, "CALLBACK_URL": self.callback_url, "EXPECTED_AUDIENCE": AUDIENCE,
            "NAS_JWKS_URL": f"{self.nas_url}/.well-known/jwks.json", "ACCESS_TOKEN_FILE": str(self.token_file),
        }  # fmt: skip
        return {
            **kept, "HERMES_CRON_HOME": str(self.home), "HERMES_CRON_TEST_HISTORY": str(self.history_file),
            "HERMES_CRON_APP": "tasks_app:app", "HERMES_CRON_BROKER__URL": self.broker_url,
            "HERMES_CRON_BROKER__QUEUE": self.queue, "HERMES_CRON_CRON__PROVIDER": self.provider,
            **{f"HERMES_CRON_CRON__CHRONOS__{name}": value for name, value in chronos.items()}, **self.env,
        }  # fmt: skip

    def start(self, log: str, *arguments: str, fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        with (self.home / f"{log}.log").open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "hermes_cron", *arguments], stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                pass_fds=fds, cwd=HERE, env=self.environment, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def start_nas(self) -> subprocess.Popen[bytes]:
        fd = self.nas_socket.fileno()
        nas = self.start(
            "nas", "nas", "serve", "--home", str(self.home / "nas"), "--bind", f"fd://{fd}", "--public-url",
            self.nas_url, "--allow-private-callbacks", "--settle", self.settle, fds=(fd,),
        )  # fmt: skip
        self.wait(lambda: self.answers(self.nas_url + contract.JWKS_PATH), "NAS answers")
        if not self.token_file.exists():
            done = self.cli(
                "nas", "agents", "add", "it", "--home", str(self.home / "nas"), "--audience", AUDIENCE,
                "--token-file", str(self.token_file),
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        return nas

    def start_web(self, number: int = 0, sock: socket.socket | None = None) -> subprocess.Popen[bytes]:
        fd = (sock or self.web_socket).fileno()
        return self.start(f"web{number}", "web", "--bind", f"fd://{fd}", "--workers", "2", fds=(fd,))

    def start_worker(self, number: int = 0, *flags: str) -> subprocess.Popen[bytes]:
        return self.start(f"worker{number}", "worker", *flags)

    def start_serve(self, *flags: str) -> subprocess.Popen[bytes]:
        fd = self.web_socket.fileno()
        return self.start("serve", "serve", "--bind", f"fd://{fd}", *flags, fds=(fd,))

    def cli(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hermes_cron", *arguments], capture_output=True, text=True, cwd=HERE,
            env=self.environment, timeout=timeout, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def add(self, job_id: str, schedule: str, task: str = "mark", *flags: str) -> subprocess.CompletedProcess[str]:
        done = self.cli("jobs", "add", job_id, "--schedule", schedule, "--task", task, *flags)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                kill_group(process)
        self.outbound.close()
        if self._store is not None:
            self._store.close()
        self.nas_socket.close()
        self.web_socket.close()
        self._drop_queue()
        shutil.rmtree(self.home / "nas", ignore_errors=True)

    def _drop_queue(self) -> None:
        if self.broker_url.startswith("redis"):
            import redis

            with redis.Redis.from_url(self.broker_url, socket_timeout=2) as client:
                client.delete(self.queue, f"_kombu.binding.{self.queue}", f"{self.queue}.rejected")

    def knocked(self) -> bool:
        """Whether somebody connects to the web's socket, where nobody serves it."""
        with selectors.DefaultSelector() as watch:
            watch.register(self.web_socket, selectors.EVENT_READ)
            return bool(watch.select(0))

    # -- looking -----------------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = open_store(f"sqlite:///{self.home}/hermes-cron.db")
        return self._store

    def history(self) -> list[list[str]]:
        try:
            return [line.split() for line in self.history_file.read_text().splitlines()]
        except FileNotFoundError:
            return []

    def ran(self, job_id: str, what: str = "ran") -> list[list[str]]:
        return [row for row in self.history() if row[0] == what and row[1] == job_id]

    def log(self, name: str) -> str:
        try:
            return (self.home / f"{name}.log").read_text()
        except FileNotFoundError:
            return ""

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.home.glob("*.log")))

    def wait(self, until: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        end = time.monotonic() + seconds
        while True:
            found = until()
            if found:
                return found
            assert time.monotonic() < end, f"waited {seconds:g} s for: {what}\n{self.logs()}"
            time.sleep(0.05)

    def answers(self, url: str) -> bool:
        try:
            return self.outbound.request("GET", url, deadline=2).ok
        except OutboundError:
            return False

    def armed(self) -> dict[str, datetime]:
        """What NAS holds, without the ladder."""
        return {job_id: at for job_id, at in self.held().items() if not job_id.startswith("_")}

    def held(self) -> dict[str, datetime]:
        """All that NAS holds."""
        token = self.token_file.read_text().strip()
        answer = self.outbound.request(
            "GET", self.nas_url + contract.LIST_PATH, headers={"Authorization": f"Bearer {token}"}, deadline=5
        )
        rows = json.loads(answer.body)["armed"]
        return {row["job_id"]: datetime.fromisoformat(row["fire_at"]) for row in rows}

    def load(self, url: str | None = None) -> dict[str, Any]:
        answer = self.outbound.request("GET", f"{url or self.callback_url}/api/cron/load", deadline=5)
        return dict(json.loads(answer.body))

    # -- firing by hand ----------------------------------------------------------------------------------------

    def body(self, job_id: str, fire_at: datetime) -> bytes:
        return json.dumps({"job_id": job_id, "fire_at": instant_text(fire_at)}).encode()

    def token(self, body: bytes, **changes: Any) -> str:
        now = int(utc_now().timestamp())
        claims = {
            "iss": self.nas_url, "aud": AUDIENCE, "purpose": contract.PURPOSE, "iat": now, "exp": now + 120,
            "jti": secrets.token_urlsafe(16), "body_sha256": hashlib.sha256(body).hexdigest(), **changes,
        }  # fmt: skip
        return open_keys(self.home / "nas").sign(claims)

    def fire(self, job_id: str, fire_at: datetime, url: str | None = None) -> Answer:
        body = self.body(job_id, fire_at)
        headers = {"Authorization": f"Bearer {self.token(body)}", "Content-Type": "application/json"}
        target = (url or self.callback_url) + contract.FIRE_PATH
        return self.outbound.request("POST", target, headers=headers, body=body, deadline=10)


def children(pid: int) -> list[int]:
    """The processes that this one's first thread has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """kill -9 of a process and all that it started: it was started as the leader of a group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
