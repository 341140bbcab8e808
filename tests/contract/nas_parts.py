"""What the tests of NAS share: an agent that can misbehave, a NAS on a real socket, and a caller."""

from __future__ import annotations

import json
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import jwt

from hermes_cron import contract
from hermes_cron.nas import Nas, open_nas
from hermes_cron.outbound import Answer, Outbound

PUBLIC_URL = "https://nas.example.org"
AUDIENCE = "agent:one"
PATIENCE_S = 60.0


def instant(seconds: float = 0.0) -> str:
    """An instant so many seconds from now, as the wire writes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@dataclass
class Got:
    """A fire as it came in."""

    at: datetime
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The JSON in it."""
        found: dict[str, Any] = json.loads(self.raw)
        return found

    @property
    def token(self) -> str:
        """The token it came with."""
        scheme, _, token = self.headers["Authorization"].partition(" ")
        assert scheme == "Bearer"
        return token

    @property
    def late_s(self) -> float:
        """How long after its instant it came."""
        return (self.at - datetime.fromisoformat(self.body["fire_at"])).total_seconds()


Behaviour = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int = 202, **headers: str) -> Behaviour:
    """Answer so."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": "2", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(b"{}")

    return behave


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Reset the connection instead of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def hang(until: threading.Event) -> Behaviour:
    """Answer 202 when the event comes."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        until.wait(PATIENCE_S)
        answer()(handler)

    return behave


class AgentServer:
    """The agent's side: takes fires, and behaves as `script` says, one entry per fire; then it answers 202."""

    def __init__(self, port: int = 0) -> None:
        self.fires: queue.Queue[Got] = queue.Queue()
        self.script: queue.SimpleQueue[Behaviour] = queue.SimpleQueue()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                raw = self.rfile.read(length)
                if len(raw) < length:
                    return  # NAS was killed while it sent this.
                got = Got(datetime.now(UTC), self.path, dict(self.headers.items()), raw)
                try:
                    behave = outer.script.get_nowait()
                except queue.Empty:
                    behave = answer()
                outer.fires.put(got)
                behave(self)

            def log_message(self, *args: object) -> None:
                pass

        ThreadingHTTPServer.request_queue_size = 128
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def will(self, *behaviours: Behaviour) -> None:
        """Behave so at the next fires."""
        for behaviour in behaviours:
            self.script.put(behaviour)

    def fire(self, seconds: float = PATIENCE_S) -> Got:
        """The next fire."""
        return self.fires.get(timeout=seconds)

    def quiet(self, seconds: float) -> bool:
        """Whether no fire comes for so long."""
        try:
            self.fires.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def fires_of(self, *job_ids: str) -> list[Got]:
        """A fire of each of these jobs, whatever else comes."""
        found: dict[str, Got] = {}
        while not set(job_ids) <= found.keys():
            got = self.fire()
            found[got.body["job_id"]] = got
        return list(found.values())

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Caller:
    """Calls NAS as an agent does."""

    base: str
    token: str = ""
    outbound: Outbound = field(default_factory=Outbound)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One call; a body that is not bytes is sent as JSON."""
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            names.setdefault("Authorization", f"Bearer {self.token}")
        return self.outbound.request(method, self.base + path, headers=names, body=raw, deadline=PATIENCE_S,
                                     max_bytes=1 << 24)  # fmt: skip

    def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> dict[str, Any]:
        """One call that must be answered so; its JSON."""
        got = self.send(method, path, body)
        assert got.status == status, got.body
        found: dict[str, Any] = json.loads(got.body)
        return found

    def provision(self, job_id: str, fire_at: str, url: str) -> str:
        """Provision; the schedule_id."""
        body = {"job_id": job_id, "fire_at": fire_at, "agent_callback_url": url, "dedup_key": f"{job_id}:{fire_at}"}
        found: str = self.ask("POST", contract.PROVISION_PATH, body)["schedule_id"]
        return found

    def cancel(self, job_id: str) -> None:
        """Cancel."""
        assert self.ask("POST", contract.CANCEL_PATH, {"job_id": job_id}) == {"ok": True}

    def armed(self) -> dict[str, str]:
        """The instants that are armed, by job."""
        return {item["job_id"]: item["fire_at"] for item in self.ask("GET", contract.LIST_PATH)["armed"]}

    def dead(self) -> dict[str, str]:
        """The reasons of what was given up, by job."""
        return {item["job_id"]: item["reason"] for item in self.ask("GET", contract.LIST_PATH)["dead"]}

    def wait_for_dead(self, job_id: str) -> None:
        """Until this job was given up."""
        until = time.monotonic() + PATIENCE_S
        while job_id not in self.dead():
            assert time.monotonic() < until

    def claims(self, got: Got, audience: str = AUDIENCE) -> dict[str, Any]:
        """The claims of a fire's token, verified as a stranger would, by the published keys."""
        keys = {key["kid"]: key for key in self.ask("GET", contract.JWKS_PATH)["keys"]}
        key = keys[jwt.get_unverified_header(got.token)["kid"]]
        claims: dict[str, Any] = jwt.decode(
            got.token, jwt.PyJWK(key).key, algorithms=[key["alg"]], audience=audience, issuer=PUBLIC_URL,
            options={"require": ["exp", "iat", "aud", "iss"]},
        )  # fmt: skip
        return claims


@dataclass
class Place:
    """A NAS that serves, in this process."""

    nas: Nas
    base: str

    def agent(self, name: str = "one", audience: str = AUDIENCE) -> Caller:
        """A new agent, ready to call."""
        return Caller(self.base, self.nas.agents.add(name, audience)[1].reveal())


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def served(home: Path, **options: Any) -> Iterator[Place]:
    """A NAS in this folder, on a socket of its own."""
    nas = open_nas(home, PUBLIC_URL, **{"allow_private_callbacks": True, **options})
    server = make_server("127.0.0.1", 0, nas.app, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    nas.start()
    try:
        yield Place(nas, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        nas.stop(0)
