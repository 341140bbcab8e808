"""Kills a process group when the process that started it is gone: run as a program, beside each command.

It is told the group on its standard input, and then that all is well. An end of input without that is the end of
its starter, by whatever means: a command must not outlive the worker that holds its run's lease.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    """Wait for the word or for the end."""
    group = sys.stdin.buffer.readline()
    if group.endswith(b"\n") and not sys.stdin.buffer.readline():
        with contextlib.suppress(OSError):
            os.killpg(int(group), signal.SIGKILL)


if __name__ == "__main__":
    main()
