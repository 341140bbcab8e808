"""Waiting with a bound: for sockets or a ring from another thread, and for a call that knows no deadline itself."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Wake:
    """Wakes one thread out of its wait, from any other thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._lock = threading.Lock()
        self._rung = False
        self._open = True

    def ring(self) -> None:
        """End the wait that is going on, or else the next one; once this is closed, do nothing."""
        with self._lock:
            if self._open and not self._rung:
                self._rung = True
                os.write(self._write, b"\0")

    def wait(self, files: Iterable[int], seconds: float) -> bool:
        """Wait for a ring, so many seconds, or one of the files to be readable; whether it is one of the files."""
        poll = select.poll()
        for file in (self._read, *files):
            poll.register(file, select.POLLIN | select.POLLERR | select.POLLHUP)
        ready = {file for file, _ in poll.poll(max(0.0, seconds) * 1000)}
        if self._read in ready:
            self._heard()
        return bool(ready - {self._read})

    def close(self) -> None:
        """Give back what it holds; nothing can be written to what others may then have opened in its place."""
        with self._lock:
            self._open = False
            os.close(self._read)
            os.close(self._write)

    def _heard(self) -> None:
        with self._lock:
            self._rung = False
            os.read(self._read, 1)


def within(seconds: float, work: Callable[[], T], late: Callable[[T], None]) -> T:
    """What `work` returns. After so many seconds it is left alone, and what it still returns is given to `late`.

    Raises:
        TimeoutError: It took longer.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            got = work()
        except BaseException as error:  # noqa: BLE001 - It is raised where the answer is waited for.
            if answer.set_running_or_notify_cancel():
                answer.set_exception(error)
            return
        if answer.set_running_or_notify_cancel():
            answer.set_result(got)
        else:
            late(got)

    threading.Thread(target=run, name="hermes-cron-queue", daemon=True).start()
    try:
        return answer.result(max(0.0, seconds))
    except TimeoutError:
        if answer.cancel():
            raise TimeoutError(f"no answer within {seconds:.1f} s") from None
        return answer.result()
