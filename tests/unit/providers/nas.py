"""A small NAS on a real socket, that keeps arms, records every call, and can be told to misbehave."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hermes_cron.clock import read_instant


class Drop(Exception):
    """Close the connection without an answer."""


@dataclass
class Call:
    path: str
    body: Any
    token: str


@dataclass
class Nas:
    """`misbehave` is asked before (`late` after) a call takes effect: it may sleep, raise Drop, or return an answer."""

    token: str = "good"
    batch: bool = True
    capabilities: dict[str, Any] | None = None
    page: int = 1000
    misbehave: Callable[[Call], tuple[int, Any, dict[str, str]] | None] | None = None
    late: Callable[[Call], tuple[int, Any, dict[str, str]] | None] | None = None
    armed: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def counted(self, word: str) -> list[Call]:
        return [call for call in list(self.calls) if word in call.path]

    def provisions(self) -> list[dict[str, str]]:
        """Every provision NAS was asked for, alone or in a batch."""
        alone = [call.body for call in self.counted("provision")]
        return alone + [item for call in self.counted("batch") for item in call.body["provision"]]

    def answer(self, call: Call) -> tuple[int, Any, dict[str, str]]:
        if call.token != self.token:
            return 401, {"error": "invalid_token"}, {}
        word = call.path.partition("?")[0].rpartition("/")[2]
        with self.lock:
            if word == "provision":
                self.armed[call.body["job_id"]] = call.body["fire_at"]
                return 200, {"schedule_id": call.body["dedup_key"]}, {}
            if word == "cancel":
                self.armed.pop(call.body["job_id"], None)
                return 200, {"ok": True}, {}
            if word == "batch" and self.batch:
                self.armed.update({item["job_id"]: item["fire_at"] for item in call.body["provision"]})
                for item in call.body["cancel"]:
                    self.armed.pop(item["job_id"], None)
                done = [{"job_id": i["job_id"], "schedule_id": i["dedup_key"]} for i in call.body["provision"]]
                return 200, {"provision": done, "cancel": [{**i, "ok": True} for i in call.body["cancel"]]}, {}
            if word == "list":
                first = int(call.path.partition("cursor=")[2] or 0)
                rows = [{"job_id": k, "fire_at": v, "schedule_id": k} for k, v in sorted(self.armed.items())]
                more = {"next": str(first + self.page)} if len(rows) > first + self.page else {}
                return 200, {"armed": rows[first : first + self.page], **more}, {}
            if word == "capabilities" and self.capabilities is not None:
                return 200, self.capabilities, {}
        return 404, {"error": "not_found"}, {}


def _handler(nas: Nas) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            call = Call(self.path, body, self.headers.get("Authorization", "").removeprefix("Bearer "))
            nas.calls.append(call)
            try:
                answer = nas.misbehave(call) if nas.misbehave else None
                if answer is None:
                    answer = nas.answer(call)
                    answer = (nas.late(call) if nas.late else None) or answer
            except Drop:
                self.close_connection = True
                self.connection.close()
                return
            status, said, headers = answer
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815 - http.server looks for these names.

        def log_message(self, *args: Any) -> None: ...

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *args: Any) -> None: ...


@contextmanager
def serving(nas: Nas, bound: socket.socket | None = None) -> Iterator[Nas]:
    """Serve it, at a free port unless a socket is given, which is bound to one and does not listen yet."""
    server = _Server(("127.0.0.1", 0), _handler(nas), bind_and_activate=bound is None)
    if bound is not None:
        server.socket.close()
        server.socket, server.server_address = bound, bound.getsockname()
        server.server_port = server.server_address[1]
        server.server_activate()
    nas.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield nas
    finally:
        server.shutdown()
        server.server_close()


def until(check: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait until it holds; whether it came to."""
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def instants(nas: Nas) -> dict[str, Any]:
    """What it holds, as instants."""
    return {job_id: read_instant(text) for job_id, text in nas.armed.items()}
