"""The web side as shipped: `hermes-cron web` with two gunicorn processes, a pinned key, a shared queue; no NAS."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from pathlib import Path
from typing import Any

import redis

from hermes_cron.clock import utc_now
from tests.integration.system import AUDIENCE, System
from tests.unit.verify.mint import good_claims, new_pair

PAIR = new_pair("ES256", "one")
BODY = b'{"job_id": "a"}'
TIMEOUT = 10.0


class Front:
    """The processes, and raw sockets to them."""

    def __init__(self, home: Path, broker_url: str, **env: str) -> None:
        chronos = "HERMES_CRON_CRON__CHRONOS__"
        pinned = {f"{chronos}NAS_JWKS_URL": "", f"{chronos}NAS_PUBLIC_KEY": json.dumps(PAIR.jwk)}
        self.system = System(home, broker_url, env=pinned | env)
        self.system.token_file.touch(0o600)
        self.address: tuple[str, int] = self.system.web_socket.getsockname()

    def start(self) -> None:
        self.web = self.system.start_web()
        self.system.wait(lambda: self.system.answers(f"{self.system.callback_url}/readyz"), "the web is ready")

    def stop(self) -> None:
        self.web.terminate()
        assert self.web.wait(20) == 0

    def start_again(self) -> None:
        """Start it anew after a stop: what it knows now is what stands on disk."""
        self.web = self.system.start_web()
        self.system.wait(lambda: self.system.answers(f"{self.system.callback_url}/healthz"), "the web answers")

    def close(self) -> None:
        self.system.close()

    def token(self, body: bytes = BODY, **changes: Any) -> str:
        digest = hashlib.sha256(body).hexdigest()
        claims = {"iss": self.system.nas_url, "aud": AUDIENCE, "body_sha256": digest, **changes}
        return PAIR.sign(good_claims(utc_now(), **claims))

    def request(self, body: bytes = BODY, *more: str, line: str = "", length: object = -1, token: str = "") -> bytes:
        """The bytes of a good fire, or of one that is bad as told."""
        first = line or "POST /api/cron/fire HTTP/1.1"
        lines = [first, "Host: localhost", "Connection: close", f"Authorization: Bearer {token or self.token(body)}"]
        lines += [f"Content-Length: {len(body) if length == -1 else length}"] if length is not None else []
        return "\r\n".join([*lines, *more, "", ""]).encode("latin-1") + body

    def connect(self, address: tuple[str, int] | None = None) -> socket.socket:
        return socket.create_connection(address or self.address, TIMEOUT)

    def ask(self, *pieces: bytes, address: tuple[str, int] | None = None) -> bytes:
        """Send these bytes, end the sending side (which a proxy takes for an abort), and read all that is answered."""
        with self.connect(address) as sock:
            try:
                for piece in pieces:
                    sock.sendall(piece)
                if address is None:
                    sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # It answered, and ended the connection, before it had read all.
            return receive(sock)

    def queued(self) -> int:
        with redis.Redis.from_url(self.system.broker_url, socket_timeout=2) as client:
            return int(client.llen(self.system.queue))

    def log(self) -> str:
        return self.system.log("web0")


def receive(sock: socket.socket) -> bytes:
    """All that comes until the other side ends."""
    found = b""
    try:
        while piece := sock.recv(65_536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def statuses(answer: bytes) -> list[int]:
    """The statuses of the answers in these bytes."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]
