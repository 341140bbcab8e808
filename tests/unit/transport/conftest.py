"""Servers of our own, to stop, freeze and start again."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import kombu
import pytest

from tests.chaos.servers import free_port
from tests.conformance.brokers import amqp_url, answers, until  # noqa: F401 - fixtures, found here by name.


class RedisServer:
    """A redis-server on a port that nobody else takes while it is away."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.url = f"redis://:canary@127.0.0.1:{self.port}/0"
        self.start()

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", "canary", *options]
        self.process = subprocess.Popen(
            [*command, "--save", "", "--appendonly", "yes", "--dir", str(self.folder)], stdout=subprocess.DEVNULL
        )
        until(lambda: answers(self.url))

    def ask(self, *command: str) -> object:
        """The answer to a command."""
        with kombu.Connection(self.url) as connection:
            return connection.default_channel.client.execute_command(*command)

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server of our own."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis: there is no redis-server to start")
    new = RedisServer(tmp_path)
    yield new
    new.thaw()
    new.kill()


class Relay:
    """A port that leads to another one, until it is held or cut."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.flowing = threading.Event()
        self.flowing.set()
        self.ends: list[socket.socket] = []
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """Let nothing through, as a server that froze."""
        self.flowing.clear()

    def flow(self) -> None:
        """Let things through again."""
        self.flowing.set()

    def cut(self) -> None:
        """End every connection that there is."""
        ends, self.ends = self.ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it."""
        self.door.close()
        self.flow()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.door.accept()
                far = socket.create_connection(self.target)
                self.ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError), one, other:
            while data := one.recv(65536):
                self.flowing.wait()
                other.sendall(data)


@pytest.fixture
def relay(request: pytest.FixtureRequest) -> Iterator[Relay]:
    """A relay to RabbitMQ."""
    parts = urlsplit(request.getfixturevalue("amqp_url"))
    new = Relay(parts.hostname or "127.0.0.1", parts.port or 5672)
    yield new
    new.close()
