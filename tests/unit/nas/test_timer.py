"""The timer: what it waits for, and who is served while others hang."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path

from hermes_cron.clock import monotonic
from hermes_cron.nas.book import Due
from hermes_cron.nas.held import Result
from hermes_cron.nas.timer import LONGEST_SLEEP_S, SLOTS, SLOTS_EACH, TROUBLE_S, Timer
from tests.unit.nas.world import NOON, world

PATIENCE_S = 60
"""How long to wait for what must come: far longer than it takes, on any machine."""


def test_what_comes_due_while_it_looks_is_not_slept_over(tmp_path: Path) -> None:
    readings = iter([NOON - timedelta(microseconds=1)])

    def clock() -> datetime:
        return next(readings, NOON + timedelta(microseconds=1))

    with world(tmp_path) as it:
        it.arm(1, "a")
        timer = Timer(it.book, lambda due: Result(202), clock)
        assert timer._round() < LONGEST_SLEEP_S / 10


def test_what_cannot_be_written_down_is_tried_again_but_in_no_storm(tmp_path: Path) -> None:
    attempts: list[float] = []
    enough = threading.Event()

    def clock() -> datetime:
        # What is between the taking and the end of a delivery fails: as a bug of ours would.
        if threading.current_thread().name == "hermes-cron-nas-fire":
            attempts.append(monotonic())
            if len(attempts) == 3:
                enough.set()
            raise ZeroDivisionError
        return NOON

    with world(tmp_path) as it:
        it.arm(1, "a")
        timer = Timer(it.book, lambda due: Result(202), clock)
        timer.start()
        try:
            assert enough.wait(PATIENCE_S)
        finally:
            timer.stop(PATIENCE_S)
    assert attempts[2] - attempts[0] >= 2 * TROUBLE_S * 0.9


def test_agents_that_hang_together_hold_nobody_up(tmp_path: Path) -> None:
    hanging = SLOTS // SLOTS_EACH
    over, served = threading.Event(), threading.Event()

    def deliver(due: Due) -> Result:
        if due.agent.id > hanging:
            served.set()
        else:
            over.wait(PATIENCE_S)
        return Result(202)

    with world(tmp_path, agents=hanging + 1) as it:
        for agent in range(1, hanging + 1):
            it.book.provision(agent, [it.ask(f"{n}", -1) for n in range(2 * SLOTS_EACH)])
        timer = Timer(it.book, deliver, it.clock)
        timer.start()
        try:
            it.arm(hanging + 1, "a", -1)
            timer.ring()
            assert served.wait(PATIENCE_S / 2)
        finally:
            over.set()
            timer.stop(PATIENCE_S)
