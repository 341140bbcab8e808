"""Waiting with a bound."""

from __future__ import annotations

import os
import threading
import time

import pytest

from hermes_cron.transport.waiting import Wake, within


def test_a_ring_ends_the_wait_and_is_heard_once() -> None:
    wake = Wake()
    threading.Timer(0.05, wake.ring).start()
    began = time.monotonic()
    assert not wake.wait((), 100)
    assert time.monotonic() - began < 50
    wake.ring()
    wake.ring()
    assert not wake.wait((), 10)
    began = time.monotonic()
    assert not wake.wait((), 0.05)
    assert time.monotonic() - began >= 0.04
    wake.close()


def test_a_ring_after_the_end_is_written_nowhere() -> None:
    wake = Wake()
    wake.close()
    read, write = os.pipe()
    wake.ring()
    os.set_blocking(read, False)
    with pytest.raises(BlockingIOError):
        os.read(read, 1)
    os.close(read)
    os.close(write)


def test_it_tells_when_a_file_is_readable() -> None:
    wake = Wake()
    read, write = os.pipe()
    os.write(write, b"x")
    assert wake.wait([read], 60)
    os.close(read)
    os.close(write)
    wake.close()


def test_within_gives_what_came_in_time_or_was_raised() -> None:
    assert within(5, lambda: 7, late=print) == 7
    with pytest.raises(KeyError):
        within(5, lambda: {}["x"], late=print)


def test_what_comes_too_late_is_given_to_late() -> None:
    go, late = threading.Event(), threading.Event()

    def work() -> str:
        go.wait(60)
        return "result"

    with pytest.raises(TimeoutError):
        within(0.02, work, late=lambda got: late.set() if got == "result" else None)
    go.set()
    assert late.wait(60)
