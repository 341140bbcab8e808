"""Run one command to its end in a process group of its own, and keep the tail of what it says."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hermes_cron.clock import monotonic
from hermes_cron.tasks.keeper import order

STOP_GRACE_S = 4.0
"""From SIGTERM to SIGKILL. A worker that has lost its lease waits 5 s for a body, so this must be less."""

KEPT_BYTES = 64 * 1024
_LEFTOVER_S = 1.0
_POLL_S = 0.05
_CHUNK = 64 * 1024
_KEEPER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("keeper.py")))


class Tail:
    """The last `KEPT_BYTES` of a stream, and a count of what went before them."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.left_out = 0

    def add(self, chunk: bytes) -> None:
        """Take what came next."""
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
    attendance = _Attendance(order(argv, env), cwd, data)
    try:
        stopped = attendance.until_end(stop)
    finally:
        attendance.close()
    if attendance.error:
        raise OSError(attendance.error, os.strerror(attendance.error))
    return Ended(attendance.exit_code, attendance.stdout, attendance.stderr, stopped)


class _Attendance:
    """One command under its keeper: the pipes are pumped and the end is awaited, in the calling thread."""

    def __init__(self, words: bytes, cwd: str | None, data: bytes) -> None:
        self.stdout = Tail()
        self.stderr = Tail()
        self.exit_code = -signal.SIGKILL
        self.error = 0
        self._over = False
        self._asked = False
        self._group = 0
        self._said = b""
        self._pipes = selectors.DefaultSelector()
        self._keeper, self._lifeline, self._status = _start_keeper(cwd, with_input=bool(data))
        self._attend(self._lifeline, words)
        self._attend(self._keeper.stdin, data)
        self._pipes.register(self._status, selectors.EVENT_READ, self._hear)
        for pipe, tail in ((self._keeper.stdout, self.stdout), (self._keeper.stderr, self.stderr)):
            if pipe is not None:
                self._pipes.register(pipe, selectors.EVENT_READ, tail.add)

    def until_end(self, stop: Callable[[], bool]) -> bool:
        """Attend it until its group is gone; whether it had to be stopped."""
        kill_at: float | None = None
        while not self._over or (kill_at is not None and self._open()):
            self._pump()
            if kill_at is None and not self._over and stop():
                kill_at = monotonic() + STOP_GRACE_S
            if kill_at is not None:
                self._terminate()
                if monotonic() >= kill_at:
                    break
        self._signal(signal.SIGKILL)
        # What is left to read is read; a process that has left the group may hold the pipes open for ever.
        until = monotonic() + _LEFTOVER_S
        while self._open() and monotonic() < until:
            self._pump()
        return kill_at is not None

    def close(self) -> None:
        """Kill what is left of the group, and give everything back."""
        self._signal(signal.SIGKILL)
        self._pipes.close()
        for pipe in (self._lifeline, self._status, self._keeper.stdin, self._keeper.stdout, self._keeper.stderr):
            if pipe is not None:
                pipe.close()
        try:
            self._keeper.wait(_LEFTOVER_S)
        except subprocess.TimeoutExpired:
            # Even a killed process can hang, in a system call; we do not hang with it.
            self._keeper.kill()

    def _attend(self, pipe: IO[bytes] | None, data: bytes) -> None:
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            self._pipes.register(pipe, selectors.EVENT_WRITE, memoryview(data))

    def _open(self) -> bool:
        """Whether there may be more to read from the command."""
        return any(callable(key.data) and key.fileobj is not self._status for key in self._pipes.get_map().values())

    def _terminate(self) -> None:
        """Ask the group to end, once, as soon as it is known."""
        if self._group and not self._asked:
            self._asked = True
            self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        # The keeper does not reap the command before `close`, so nobody else can have its group's number.
        if self._group:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, number)

    def _hear(self, chunk: bytes) -> None:
        """Take what the keeper says; when it says no more, it is over."""
        *lines, self._said = (self._said + chunk).split(b"\n")
        for line in lines:
            word, _, number = line.partition(b" ")
            if word == b"pid":
                self._group = int(number)
            elif word == b"error":
                self.error = int(number)
            else:
                self.exit_code, self._over = int(number), True
        self._over = self._over or not chunk

    def _pump(self) -> None:
        for key, _ in self._pipes.select(_POLL_S):
            if callable(key.data):
                chunk = os.read(key.fd, _CHUNK)
                key.data(chunk)
                if not chunk:
                    self._pipes.unregister(key.fileobj)
            else:
                rest = key.data[_write(key.fd, key.data[:_CHUNK]) :]
                if rest:
                    self._pipes.modify(key.fileobj, selectors.EVENT_WRITE, rest)
                else:
                    self._pipes.unregister(key.fileobj)
                    if key.fileobj is self._keeper.stdin:
                        # The command reads to the end of its input, and this is where it ends.
                        self._keeper.stdin.close()


def _start_keeper(cwd: str | None, *, with_input: bool) -> tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]:
    """The keeper, our end of its lifeline, and the pipe that it reports by."""
    theirs, lifeline = os.pipe()
    status, report = os.pipe()
    try:
        # A session of its own: no terminal for the command to ask for passwords at, no Ctrl-C of ours for either.
        keeper = subprocess.Popen(  # noqa: S603 - our own file, run by our own interpreter.
            [*_KEEPER, str(theirs), str(report)], cwd=cwd, env={}, start_new_session=True, bufsize=0,
            pass_fds=(theirs, report), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=subprocess.PIPE if with_input else subprocess.DEVNULL,
        )  # fmt: skip
    except BaseException:
        os.close(lifeline)
        os.close(status)
        raise
    finally:
        os.close(theirs)
        os.close(report)
    return keeper, os.fdopen(lifeline, "wb", 0), os.fdopen(status, "rb", 0)


def _write(descriptor: int, data: memoryview) -> int:
    """How much of it was written; all of it where the other end is gone, for then nobody wants it."""
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(data)
