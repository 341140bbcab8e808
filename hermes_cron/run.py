"""`Run`: one claimed attempt at a fire, and what became of it."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hermes_cron.output import Output


class RunState(enum.StrEnum):
    """Where a run stands. The first two are open; the others are final."""

    CLAIMED = "claimed"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    """Taken over after its lease died, handed back by a draining worker, or left by its process, which died."""


OPEN = frozenset({RunState.CLAIMED, RunState.STARTED})
UNKEPT = frozenset({"stop_asked", "output"})
"""The fields of a run that live in its process only."""


def never_cancelled() -> bool:
    """The answer of `Run.cancelled` where nobody can ask for it."""
    return False


@dataclass(frozen=True, slots=True)
class Run:
    """One claimed attempt at a fire: what it may do (fence, lease) and what it is to do (task, args, timeout).

    A task declared with `bind=True` is handed its run: `job_id`, `fire_at`, `attempt`, `fence`, `deadline`,
    `cancelled()`. `fence` rises with every grant of the job: give it to a target that can refuse lower ones.
    `error` is one line with no secret; `result` is JSON text, at most 64 KiB.
    """

    id: str
    job_id: str
    key: str
    fire_at: datetime
    attempt: int
    fence: int
    task: str
    args: Mapping[str, Any]
    state: RunState = RunState.CLAIMED
    timeout: float | None = None
    worker: str = ""
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    lease_until: datetime | None = None
    guard_at: datetime | None = None
    cancel: str = ""
    """Why its body was asked to stop; empty while nobody asked."""
    error: str = ""
    result: str = ""
    manual: bool = False
    deadline: datetime | None = None
    stop_asked: Callable[[], bool] = field(default=never_cancelled, compare=False, repr=False)
    output: Output | None = field(default=None, compare=False, repr=False)
    """What it said, from its end until that is kept, which is apart from the run."""

    @property
    def open(self) -> bool:
        """Whether it may still write."""
        return self.state in OPEN

    def cancelled(self) -> bool:
        """Whether the body should stop: somebody cancelled it, its time is up, or its worker drains."""
        return self.stop_asked()


class StopSign:
    """Why the body of a run is asked to stop; the first reason stands. May be put up and read from any thread.

    `hand_back` tells that the reason lies with the worker, not with the job: the fire is then to wait again.
    `inside` tells that a body is running, `heard` that it has asked and was told to stop.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.hand_back = False
        self.inside = False
        self.heard = False
        self._up = threading.Event()
        self._lock = threading.Lock()

    def put_up(self, reason: str, *, hand_back: bool = False) -> None:
        """Ask the body to stop."""
        with self._lock:
            if not self._up.is_set():
                self.reason, self.hand_back = reason, hand_back
                self._up.set()

    def up(self) -> bool:
        """Whether the body is asked to stop."""
        return self._up.is_set()

    def hear(self) -> bool:
        """The same, for the body: whether it has heard is remembered."""
        self.heard = self.heard or self.up()
        return self.heard
