"""Starts one command, and kills its process group when whoever asked for it is gone: run as a program.

A command must not outlive the worker that holds its run's lease, however that worker ended, so the command's parent
is not the worker but this program, which knows the group before the command begins. Even a command that is stopped,
or stuck where it cannot look after itself, ends with its group. What to run comes through a pipe,
the lifeline; when that ends, so does the command. The other way go three lines: `pid N`, `error ERRNO`, `end CODE`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence


def order(argv: Sequence[str], env: Mapping[str, str]) -> bytes:
    """What to run, as `main` reads it from the lifeline.

    Raises:
        ValueError: It holds a NUL, or a name with `=`.
    """
    parts = [str(len(argv)), *argv, *(part for pair in env.items() for part in pair)]
    if any("\0" in part for part in parts) or any(not name or "=" in name for name in env):
        raise ValueError("a NUL or = stands where it cannot")
    body = b"\0".join(map(os.fsencode, parts))
    return f"{len(body)}\n".encode() + body


def main() -> None:
    """Start the command, report its end, and see to it that nothing is left of it."""
    lifeline, status = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (lifeline, status):
        os.set_inheritable(descriptor, False)
    body = _read(lifeline)
    if body is None:
        return
    ring, bell = os.pipe()
    os.set_blocking(bell, False)
    # Who stops a whole service signals every process of it; whoever asked for the command decides what that means.
    # What is handled, and not ignored, is as it was again for the command.
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(bell)
    pid = os.fork()
    if pid == 0:
        _become(body, status)
    with contextlib.suppress(OSError):
        # Both sides do it, so that it is done whoever is first.
        os.setpgid(pid, pid)
    _tell(status, f"pid {pid}\n")
    _let_go()
    # Not select(): a worker with many connections hands down descriptors above 1024.
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    poll.register(ring, select.POLLIN)
    while lifeline not in [descriptor for descriptor, _ in poll.poll()]:
        os.read(ring, 512)
        _report(pid, status)
    # It is not reaped before this: until then nobody else can get its group's number.
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _read(lifeline: int) -> bytes | None:
    """The order; None where it breaks off."""
    with os.fdopen(os.dup(lifeline), "rb", buffering=0) as pipe:
        head = b""
        while not head.endswith(b"\n"):
            byte = pipe.read(1)
            if not byte:
                return None
            head += byte
        body, size = b"", int(head)
        while len(body) < size:
            chunk = pipe.read(size - len(body))
            if not chunk:
                return None
            body += chunk
    return body


def _become(body: bytes, status: int) -> None:
    """Become the command, or say why not."""
    count, *parts = body.split(b"\0")
    argv, rest = parts[: int(count)], parts[int(count) :]
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            # Python ignores them, and what is ignored stays so through exec.
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(argv[0], argv, dict(zip(rest[::2], rest[1::2], strict=True)))  # noqa: S606 - this is its purpose.
    except OSError as error:
        _tell(status, f"error {error.errno}\n")
    os._exit(127)


def _let_go() -> None:
    """Hold the command's pipes no longer: who reads them waits for all who hold them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _report(pid: int, status: int) -> None:
    if not hasattr(os, "waitid"):
        # macOS before Python 3.13.
        with contextlib.suppress(ChildProcessError):
            done, result = os.waitpid(pid, os.WNOHANG)
            if done:
                _tell(status, f"end {os.waitstatus_to_exitcode(result)}\n")
        return
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is not None:
        code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        _tell(status, f"end {code}\n")


def _tell(status: int, line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(status, line.encode())


if __name__ == "__main__":
    main()
