"""Run one command to its end in a process group of its own, and keep the tail of what it says."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from hermes_cron.capture import command_said
from hermes_cron.clock import monotonic
from hermes_cron.keeper import Keeper, write_some
from hermes_cron.output import STDERR, STDOUT

STOP_GRACE_S = 4.0
"""From SIGTERM to SIGKILL. A worker that has lost its lease waits 5 s for a body, so this must be less."""

KEPT_BYTES = 64 * 1024
_LEFTOVER_S = 1.0
_POLL_S = 0.05
_CHUNK = 64 * 1024


class Tail:
    """The last `KEPT_BYTES` of a stream, and a count of what went before them; the run's output is told all of it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._kept = bytearray()
        self.left_out = 0

    def add(self, chunk: bytes) -> None:
        """Take what came next."""
        command_said(self._source, chunk)
        self._kept += chunk
        over = len(self._kept) - KEPT_BYTES
        if over > 0:
            del self._kept[:over]
            self.left_out += over

    def text(self) -> str:
        """It as text; what is no UTF-8 is replaced."""
        kept = self._kept
        # A character that was cut in two is left out with the rest.
        start = next((at for at in range(min(4, len(kept))) if kept[at] & 0xC0 != 0x80), 0) if self.left_out else 0
        return kept[start:].decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code (minus the signal that killed it), its tails, whether it was stopped."""

    exit_code: int
    stdout: Tail
    stderr: Tail
    stopped: bool


def run_command(
    argv: Sequence[str], *, cwd: str | None, env: Mapping[str, str], data: bytes, stop: Callable[[], bool]
) -> Ended:
    """Run a command until it ends or `stop()`; then SIGTERM to its group, and after `STOP_GRACE_S` SIGKILL.

    Nothing of its process group is left when this returns, and nothing of it outlives this process.

    Raises:
        OSError: It cannot be started.
        ValueError: A NUL or `=` stands where it cannot.
    """
    keeper = Keeper(
        argv, env, cwd=cwd, stdin=subprocess.PIPE if data else subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    attendance = _Attendance(keeper, data)
    try:
        stopped = attendance.until_end(stop)
    finally:
        attendance.close()
    if keeper.error:
        raise OSError(keeper.error, os.strerror(keeper.error))
    return Ended(keeper.exit_code, attendance.stdout, attendance.stderr, stopped)


class _Attendance:
    """One command under its keeper: the pipes are pumped and the end is awaited, in the calling thread."""

    def __init__(self, keeper: Keeper, data: bytes) -> None:
        self.stdout = Tail(STDOUT)
        self.stderr = Tail(STDERR)
        self._asked = False
        self._pipes = selectors.DefaultSelector()
        self._keeper, process = keeper, keeper.process
        self._attend(keeper.lifeline, keeper.words)
        self._attend(process.stdin, data)
        self._pipes.register(keeper.status, selectors.EVENT_READ, keeper.hear)
        for pipe, tail in ((process.stdout, self.stdout), (process.stderr, self.stderr)):
            if pipe is not None:
                self._pipes.register(pipe, selectors.EVENT_READ, tail.add)

    def until_end(self, stop: Callable[[], bool]) -> bool:
        """Attend it until its group is gone; whether it had to be stopped."""
        kill_at: float | None = None
        while not self._keeper.over or (kill_at is not None and self._open()):
            self._pump()
            if kill_at is None and not self._keeper.over and stop():
                kill_at = monotonic() + STOP_GRACE_S
            if kill_at is not None:
                self._terminate()
                if monotonic() >= kill_at:
                    break
        self._keeper.signal(signal.SIGKILL)
        # What is left to read is read; a process that has left the group may hold the pipes open for ever.
        until = monotonic() + _LEFTOVER_S
        while self._open() and monotonic() < until:
            self._pump()
        return kill_at is not None

    def close(self) -> None:
        """Kill what is left of the group, and give everything back."""
        self._pipes.close()
        self._keeper.close()

    def _attend(self, pipe: IO[bytes] | None, data: bytes) -> None:
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            self._pipes.register(pipe, selectors.EVENT_WRITE, memoryview(data))

    def _open(self) -> bool:
        """Whether there may be more to read from the command."""
        keys = self._pipes.get_map().values()
        return any(callable(key.data) and key.fileobj is not self._keeper.status for key in keys)

    def _terminate(self) -> None:
        """Ask the group to end, once, as soon as it is known."""
        if self._keeper.group and not self._asked:
            self._asked = True
            self._keeper.signal(signal.SIGTERM)

    def _pump(self) -> None:
        for key, _ in self._pipes.select(_POLL_S):
            if callable(key.data):
                chunk = os.read(key.fd, _CHUNK)
                key.data(chunk)
                if not chunk:
                    self._pipes.unregister(key.fileobj)
            else:
                rest = key.data[write_some(key.fd, key.data[:_CHUNK]) :]
                if rest:
                    self._pipes.modify(key.fileobj, selectors.EVENT_WRITE, rest)
                else:
                    self._pipes.unregister(key.fileobj)
                    if key.fileobj is self._keeper.process.stdin:
                        # The command reads to the end of its input, and this is where it ends.
                        self._keeper.process.stdin.close()
