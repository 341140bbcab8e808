"""A server of ours in a process of its own, for the tests that need real sockets and signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_HEAD = "import sys, os, time, threading\nfrom hermes_cron import server\n"


@dataclass
class Served:
    """The process, the lines it wrote, and a way to talk to it."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    told: threading.Condition = field(default_factory=threading.Condition)
    silent: bool = False
    """Whether it has said its last: it may have ended before all that it said was read."""

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.told:
                self.lines.append(line.rstrip())
                self.told.notify_all()
        with self.told:
            self.silent = True
            self.told.notify_all()

    def says(self, start: str, seconds: float = 60) -> str:
        """The rest of the first line that starts like this."""

        def found() -> str | None:
            return next((line.removeprefix(start) for line in self.lines if line.startswith(start)), None)

        with self.told:
            self.told.wait_for(lambda: found() is not None or self.silent, seconds)
            rest = found()
        assert rest is not None, f"it never said {start!r}, but {self.lines}"
        return rest

    def connect(self) -> socket.socket:
        url = self.says("url ")
        if url.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(60)
            sock.connect(url.removeprefix("unix:"))
            return sock
        parts = urlsplit(url)
        return socket.create_connection((parts.hostname or "", parts.port or 0), 60)

    def ask(self, *pieces: bytes) -> bytes:
        """Send these bytes, end the sending side, and read the whole answer."""
        with self.connect() as sock:
            for piece in pieces:
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b""))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal and wait: its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit code; then all that it said has been read."""
        code = self.process.wait(60)
        with self.told:
            assert self.told.wait_for(lambda: self.silent, 60), "something that it started goes on"
        return code


@contextmanager
def served(script: str, *arguments: str) -> Iterator[Served]:
    """Run this script; it and all it started are gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HEAD + script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    new = Served(process)
    reader = threading.Thread(target=new.read, daemon=True)
    reader.start()
    try:
        yield new
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)
        reader.join(60)
