"""Run one command to its end in a process group of its own, and keep the tail of what it says."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hermes_cron.clock import monotonic

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
    """
    with _kept_by_keeper() as tell:
        child = subprocess.Popen(  # noqa: S603 - running what a job says is this task's work; it is off by default.
            argv, cwd=cwd, env=dict(env), start_new_session=True, bufsize=0, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, stdin=subprocess.PIPE if data else subprocess.DEVNULL,
        )  # fmt: skip
        attendance = _Attendance(child, data)
        try:
            tell(child.pid)
            stopped = attendance.until_end(stop)
        finally:
            attendance.close()
    exit_code = child.returncode if child.returncode is not None else -signal.SIGKILL
    return Ended(exit_code, attendance.stdout, attendance.stderr, stopped)


@contextlib.contextmanager
def _kept_by_keeper() -> Iterator[Callable[[int], object]]:
    # A session of its own: who kills our group must not kill the keeper with it.
    keeper = subprocess.Popen(  # noqa: S603 - our own file, run by our own interpreter.
        _KEEPER, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={},
        start_new_session=True, bufsize=0, cwd="/",
    )  # fmt: skip
    assert keeper.stdin is not None  # noqa: S101 - for the type checker: it was asked for.
    lifeline = keeper.stdin
    try:
        yield lambda pid: _write(lifeline.fileno(), f"{pid}\n".encode())
    finally:
        # Twice, for the case that it was never told a group.
        _write(lifeline.fileno(), b"well\nwell\n")
        lifeline.close()
        _reap(keeper)


def _reap(child: subprocess.Popen[bytes]) -> None:
    # Even a killed process can hang, in a system call; we do not hang with it.
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_LEFTOVER_S)


def _write(descriptor: int, data: bytes | memoryview) -> int:
    """How much of it was written; all of it where the other end is gone, for then nobody wants it."""
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(data)


class _Attendance:
    """One running command: its pipes are pumped and its end is awaited, in the calling thread."""

    def __init__(self, child: subprocess.Popen[bytes], data: bytes) -> None:
        self.stdout = Tail()
        self.stderr = Tail()
        self._child = child
        self._data = memoryview(data)
        self._pipes = selectors.DefaultSelector()
        for pipe, tail in ((child.stdout, self.stdout), (child.stderr, self.stderr)):
            if pipe is not None:
                self._pipes.register(pipe, selectors.EVENT_READ, tail)
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            self._pipes.register(child.stdin, selectors.EVENT_WRITE)

    def until_end(self, stop: Callable[[], bool]) -> bool:
        """Attend it until its group is gone; whether it had to be stopped."""
        kill_at: float | None = None
        while not self._exited() or (kill_at is not None and self._pipes.get_map()):
            self._pump(_POLL_S)
            if kill_at is None and stop():
                kill_at = monotonic() + STOP_GRACE_S
                self._signal(signal.SIGTERM)
            elif kill_at is not None and monotonic() >= kill_at:
                break
        self._signal(signal.SIGKILL)
        # What is left to read is read; a process that has left the group may hold the pipes open for ever.
        until = monotonic() + _LEFTOVER_S
        while self._pipes.get_map() and monotonic() < until:
            self._pump(_POLL_S)
        return kill_at is not None

    def close(self) -> None:
        """Kill what is left of the group, and give everything back."""
        self._signal(signal.SIGKILL)
        _reap(self._child)
        self._pipes.close()
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()

    def _exited(self) -> bool:
        """Whether it has ended. It is not reaped yet: until then nobody else can get its group's number."""
        if not hasattr(os, "waitid"):
            return self._child.poll() is not None
        try:
            return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _signal(self, number: int) -> None:
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, number)

    def _pump(self, seconds: float) -> None:
        for key, _ in self._pipes.select(seconds):
            if key.data is None:
                self._data = self._data[_write(key.fd, self._data[:_CHUNK]) :]
                done = not self._data
            else:
                chunk = os.read(key.fd, _CHUNK)
                key.data.add(chunk)
                done = not chunk
            if done:
                self._pipes.unregister(key.fileobj)
                if key.data is None and self._child.stdin is not None:
                    # The command reads to the end of its input, and this is where it ends.
                    self._child.stdin.close()
