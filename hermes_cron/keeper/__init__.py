"""`Keeper`: starts a program whose whole process group is gone soon after we are, however we ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from hermes_cron.keeper.program import order

_PROGRAM = (sys.executable, "-I", "-S", str(Path(__file__).with_name("program.py")))
_LEFTOVER_S = 1.0


class Keeper:
    """One program under a keeper, which is a small process of its own and the program's parent.

    The keeper kills the program's process group when the lifeline ends: when we close it, and when we are killed. Who
    uses it writes `words` into `lifeline` (which does not block), and gives to `hear` what can be read from `status`.
    The program is handed three descriptors, and inherits no other.
    """

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], *, stdin: Any, stdout: Any, stderr: Any,
        cwd: str | None = None,
    ) -> None:  # fmt: skip
        self.words = order(argv, env)
        self.group = 0
        self.error = 0
        self.exit_code = -signal.SIGKILL
        self.over = False
        self._said = b""
        self._lock = threading.Lock()
        theirs, lifeline = os.pipe()
        status, report = os.pipe()
        try:
            # A session of its own: no terminal for the program to ask for passwords at, no Ctrl-C of ours for either.
            self.process = subprocess.Popen(  # noqa: S603 - our own file, run by our own interpreter.
                [*_PROGRAM, str(theirs), str(report)], cwd=cwd, env={}, start_new_session=True, bufsize=0,
                pass_fds=(theirs, report), stdin=stdin, stdout=stdout, stderr=stderr,
            )  # fmt: skip
        except BaseException:
            os.close(lifeline)
            os.close(status)
            raise
        finally:
            os.close(theirs)
            os.close(report)
        os.set_blocking(lifeline, False)
        self.lifeline: IO[bytes] = os.fdopen(lifeline, "wb", 0)
        self.status: IO[bytes] = os.fdopen(status, "rb", 0)

    def hear(self, chunk: bytes) -> None:
        """Take what the keeper says; when it says no more, the program is over."""
        *lines, self._said = (self._said + chunk).split(b"\n")
        for line in lines:
            word, _, number = line.partition(b" ")
            if word == b"pid":
                self.group = int(number)
            elif word == b"error":
                self.error = int(number)
            else:
                self.exit_code, self.over = int(number), True
        self.over = self.over or not chunk

    def signal(self, number: int) -> None:
        """Signal what is left of the process group, once it is known. May be called from any thread."""
        with self._lock:
            # The keeper does not reap the program before `close`, so nobody else can have its group's number.
            if self.group:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.group, number)

    def close(self) -> None:
        """Kill what is left of the group, and give everything back."""
        self.signal(signal.SIGKILL)
        with self._lock:
            self.group = 0
        for pipe in (self.lifeline, self.status, self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        try:
            self.process.wait(_LEFTOVER_S)
        except subprocess.TimeoutExpired:
            # Even a killed process can hang, in a system call; we do not hang with it.
            self.process.kill()


def write_some(descriptor: int, data: memoryview) -> int:
    """How much of it was written without blocking; all of it where the other end is gone, for then nobody wants it."""
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
    except (BrokenPipeError, ConnectionResetError):
        return len(data)


def ending(exit_code: int) -> str:
    """How a program ended, as the end of a sentence about it."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"
