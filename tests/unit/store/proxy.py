"""A connection in the middle of a store and its Redis server, that can lose, delay and break."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

WRITE = b'["HSET", "job:'
"""What only a write has in it."""


class RedisProxy:
    """Breaks at the next write: `before` the server hears of it, `after` it was done, or so that it comes `late`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port or 6379)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = urlunsplit(parts._replace(netloc=f"127.0.0.1:{self._listener.getsockname()[1]}"))
        self.break_at = ""
        self.on_break: Callable[[], object] = lambda: None
        self._silent = False
        self._late: list[tuple[socket.socket, bytes]] = []
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Take no more connections, and end those there are."""
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Break every connection."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def fall_silent(self) -> None:
        """Let no answer through."""
        self._silent = True

    def speak(self) -> None:
        """Let answers through again, on new connections."""
        self._silent = False

    def deliver(self) -> None:
        """Hand the server what it is to get late, and wait until it has answered."""
        for upstream, data in self._late:
            upstream.sendall(data)
            assert _received(upstream)
            upstream.close()
        self._late.clear()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
                upstream = socket.create_connection(self._server)
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._carry, args=(client, upstream), daemon=True).start()

    def _carry(self, client: socket.socket, upstream: socket.socket) -> None:
        """One request, one answer, and so on."""
        while data := _request(client):
            if self.break_at and WRITE in data:
                when, self.break_at = self.break_at, ""
                if when == "late":
                    self._late.append((upstream, data))
                elif when == "after":
                    upstream.sendall(data)
                    _received(upstream)
                self.on_break()
                break
            upstream.sendall(data)
            answer = _received(upstream)
            if not answer:
                break
            if not self._silent:
                with suppress(OSError):
                    client.sendall(answer)
        else:
            upstream.close()
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        client.close()


def _request(connection: socket.socket) -> bytes:
    """A whole request: an array of as many bulk strings as it says."""
    data = b""
    while not _whole(data):
        more = _received(connection)
        if not more:
            return b""
        data += more
    return data


def _whole(data: bytes) -> bool:
    at = 0
    while at < len(data):
        line = data[at:].partition(b"\r\n")
        if not line[1]:
            return False
        at += len(line[0]) + 2
        for _ in range(int(line[0][1:])):
            size = data[at:].partition(b"\r\n")
            if not size[1]:
                return False
            at += len(size[0]) + 2 + int(size[0][1:]) + 2
    return bool(data) and at == len(data)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 20)
    except OSError:
        return b""
