"""`Bodies`: runs the bodies of tasks in the calling thread, by the real `execute`, each in a time of its own.

A body is over at once, whatever time it is said to take: only its run stays open for that long.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from hermes_cron.capture import Capture, recorded
from hermes_cron.clock import EPOCH
from hermes_cron.execution import execute
from hermes_cron.run import Run, RunState, StopSign
from hermes_cron.task import Task


class Bodies:
    """The tasks of an app, and what came of their bodies.

    `takes` are the seconds that bodies of a job take beside what they `spend`, by its id; `raised` what bodies raised,
    by the id of the run; `begun` the ids of the runs whose bodies began, and `failed` those that failed, in order.
    `moved` is told of every instant that the time inside a body comes to.
    """

    def __init__(self, tasks: Mapping[str, Task], moved: Callable[[datetime], object]) -> None:
        self._tasks = {name: replace(task, call=self._watched(task.call)) for name, task in tasks.items()}
        self._moved = moved
        self._recorded = recorded(self._execute, self._clock)
        self._began: datetime | None = None
        self._spent = self._takes = 0.0
        self._caught: BaseException | None = None
        self.takes: dict[str, float] = {}
        self.raised: dict[str, BaseException] = {}
        self.failed: list[Run] = []
        self.begun: list[str] = []

    @property
    def inside(self) -> datetime | None:
        """What time it is inside the body that runs; None while none runs."""
        return None if self._began is None else self._began + timedelta(seconds=self._spent)

    def spend(self, seconds: float) -> None:
        """Time passes inside the body that runs."""
        self._spent += seconds
        if self.inside is not None:
            self._moved(self.inside)

    def run(self, run: Run, now: datetime) -> tuple[Run, float]:
        """How the body of a run ended that began now, and after how many seconds.

        Raises:
            KeyboardInterrupt: It was interrupted: that is for whoever runs the tests.
        """
        self.begun.append(run.id)
        self._began, self._caught = now, None
        self._spent, self._takes = 0.0, self.takes.get(run.job_id, 0.0)
        capture = Capture()
        capture.start()
        try:
            ended = self._recorded(run, StopSign())
        finally:
            capture.stop()
            self._began = None
        self._moved(now)
        if isinstance(self._caught, KeyboardInterrupt):
            raise self._caught
        if self._caught is not None:
            self.raised[run.id] = self._caught
        if ended.state is RunState.FAILED:
            self.failed.append(ended)
        return ended, self._spent

    def _execute(self, run: Run, sign: StopSign) -> Run:
        return execute(run, self._tasks, sign, self._clock, lambda: self._spent)

    def _clock(self) -> datetime:
        return self.inside or EPOCH

    def _watched(self, call: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(call)
        def watched(*args: object, **kwargs: object) -> object:
            try:
                return call(*args, **kwargs)
            except BaseException as error:
                self._caught = error
                raise
            finally:
                self.spend(self._takes)

        return watched
