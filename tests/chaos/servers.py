"""Servers of our own on free ports, to be killed, frozen, flushed and started again: Redis, PostgreSQL, RabbitMQ."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path


def free_port() -> int:
    """A port that nobody listens on, and that the kernel gives to nobody who asks for any: it is free until it is used.

    Below 32768 no client's end of a connection and no listener at port 0 takes it meanwhile.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("of a hundred ports none is free")


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False


class Server(ABC):
    """One server process in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """How it is started."""

    def prepare(self) -> None:  # noqa: B027 - most need nothing.
        """Make what it needs before its first start."""

    def environment(self) -> dict[str, str]:
        """What its environment is."""
        return dict(os.environ)

    def ready(self) -> bool:
        """Whether it takes work."""
        return answers(self.port)

    def start(self, seconds: float = 40) -> None:
        """Start it, and wait until it takes work."""
        with (self.folder / "server.log").open("ab") as out:
            self.process = subprocess.Popen(
                self.command(), stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True,
                env=self.environment(), cwd=self.folder,
            )  # fmt: skip
        end = time.monotonic() + seconds
        while not self.ready():
            assert time.monotonic() < end, f"{type(self).__name__} did not start: {self.log()}"
            time.sleep(0.05)

    def log(self) -> str:
        """Its last words."""
        return (self.folder / "server.log").read_text(errors="replace")[-2000:]

    def pid(self) -> int:
        """Whom a signal goes to."""
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        """Send a signal to it and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid(), number)

    def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def close(self) -> None:
        """End it."""
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.kill()


class Redis(Server):
    """redis-server; with `durable` its append-only file is written at every command."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        super().__init__(folder)
        self.durable = durable

    def command(self) -> list[str]:
        kept = ["--appendonly", "yes", "--appendfsync", "always"] if self.durable else []
        return [
            "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder),
            "--maxmemory-policy", "noeviction", *kept,
        ]  # fmt: skip

    def ready(self) -> bool:
        done = subprocess.run(["redis-cli", "-p", str(self.port), "ping"], capture_output=True, timeout=5, check=False)
        return done.stdout.strip() == b"PONG"

    def flush(self) -> None:
        """Forget everything."""
        subprocess.run(["redis-cli", "-p", str(self.port), "flushall"], capture_output=True, timeout=5, check=False)


class Postgres(Server):
    """A PostgreSQL cluster of its own, run as the user `postgres` where we are root."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bin = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]

    def prepare(self) -> None:
        data = self.folder / "data"
        data.mkdir()
        self.folder.chmod(0o755)
        for parent in self.folder.parents:
            if str(parent).startswith("/tmp/") and parent.owner() != "postgres":
                parent.chmod(parent.stat().st_mode | 0o055)
        self._own(data)
        done = subprocess.run(
            self._as(str(self.bin / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync"),
            capture_output=True, text=True, timeout=60, check=False, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def command(self) -> list[str]:
        return self._as(
            str(self.bin / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), "-k", "/tmp",
            "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200", "-c", "synchronous_commit=on",
        )  # fmt: skip

    def ready(self) -> bool:
        done = subprocess.run(
            [str(self.bin / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)], capture_output=True, check=False
        )
        return done.returncode == 0

    def start(self, seconds: float = 40) -> None:
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        super().start(seconds)

    def _as(self, *command: str) -> list[str]:
        if os.geteuid() != 0:
            return list(command)
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--", *command]

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")


class Rabbit(Server):
    """A RabbitMQ node of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.dist = free_port()
        self.node = f"chaos{self.port}@localhost"

    def environment(self) -> dict[str, str]:
        folder = str(self.folder)
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "rabbit.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{self.port}\n")
        return {
            **os.environ, "HOME": folder, "RABBITMQ_NODENAME": self.node, "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist), "RABBITMQ_MNESIA_BASE": folder, "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbit.conf"), "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"), "RABBITMQ_PID_FILE": f"{folder}/pid",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }  # fmt: skip

    def command(self) -> list[str]:
        return [str(sorted(Path("/usr/lib/rabbitmq/lib").glob("*/sbin/rabbitmq-server"))[-1])]

    def start(self, seconds: float = 90) -> None:
        super().start(seconds)

    def ready(self) -> bool:
        return answers(self.port) and (self.folder / "pid").exists()

    def signal(self, number: int) -> None:
        # The node is a session leader of its own; its pid is in the file it writes.
        with contextlib.suppress(OSError, ValueError, ProcessLookupError):
            os.kill(int((self.folder / "pid").read_text()), number)
        super().signal(number)

    def kill(self) -> None:
        super().kill()
        (self.folder / "pid").unlink(missing_ok=True)
        end = time.monotonic() + 10
        while answers(self.port) and time.monotonic() < end:
            time.sleep(0.02)
