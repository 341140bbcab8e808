"""Pools with real processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hermes_cron.handover import Load
from hermes_cron.pool import Pool
from hermes_cron.run import Run, RunState, StopSign
from hermes_cron.settings import TaskSettings
from hermes_cron.task import Task
from tests.unit.parts import LEASE, NOON

GRACE = 0.4
PROJECT = Path(__file__).parents[3]


def run_of(task: str, timeout: float | None = None, number: int = 1, **args: Any) -> Run:
    return Run(
        f"a:{number}", "a", "k", NOON, attempt=2, fence=number, task=task, args=args, state=RunState.STARTED,
        timeout=timeout, lease_until=NOON + LEASE,
    )  # fmt: skip


@dataclass
class Warm:
    """A pool, and shorter ways to ask it."""

    pool: Pool
    sign: StopSign = field(default_factory=StopSign)

    def run(self, task: str, timeout: float | None = None, sign: StopSign | None = None, **args: Any) -> Run:
        return self.pool.execute(run_of(task, timeout, **args), sign or StopSign())


Make = Callable[..., Warm]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes pools, and stops them."""
    monkeypatch.chdir(PROJECT)
    made: list[Pool] = []

    def make_pool(concurrency: int = 1, most_runs: int = 100, grace: float = GRACE, **tasks: Task) -> Warm:
        load = Load("tests.unit.pool.bodies:app", TaskSettings(), 20)
        pool = Pool(load, tasks, concurrency, grace=grace, most_runs=most_runs)
        made.append(pool)
        pool.start()
        return Warm(pool)

    yield make_pool
    for pool in made:
        pool.stop()


@pytest.fixture
def warm(make: Make) -> Warm:
    """A pool of one child."""
    return make()


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no mere entry of one that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pids: list[int], seconds: float = 60.0) -> bool:
    """Whether all of them are gone in time."""
    until = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(map(alive, pids))


def noted(path: Path, seconds: float = 60.0) -> list[int]:
    """The process ids that a body noted."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if path.exists() and (text := path.read_text()):
            return [int(pid) for pid in text.split()]
        time.sleep(0.01)
    raise AssertionError(f"no body has written {path}, {os.getpid()}")
