"""`Pool`: runs bodies in processes of their own, which are started ahead and kept warm.

What a body does to its process it does to nobody else: the worker's process holds the lease, and it alone talks to
store and queue. A child runs one run at a time, and several one after another.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hermes_cron.clock import monotonic
from hermes_cron.handover import Load
from hermes_cron.pool.attended import GRACE_S, TERM_S, Attended
from hermes_cron.run import Run, RunState, StopSign
from hermes_cron.task import Task

STOP_S = GRACE_S + TERM_S + 2.0
"""How long it takes until every body that was asked to stop has ended, and its end is written."""

MAX_RUNS = 200
"""After so many runs a child makes room for a new one: what bodies leave behind in it does not pile up for ever."""

READY_S = 60.0
"""How long a child may take to load the application."""

_TRIES = 3
_BACKOFF_S = 0.5
_MOST_BACKOFF_S = 60.0
_LEAVE_S = 2.0
_LOOK_S = 1.0
_POLL_S = 0.1
_log = logging.getLogger("hermes_cron.pool")


class Pool:
    """As many warm children as there are slots. `execute` is what a slot's thread calls, from any number of threads.

    `hide` are secrets that are not to stand in the output of a run.
    """

    def __init__(
        self, load: Load, tasks: Mapping[str, Task], concurrency: int, *, grace: float = GRACE_S,
        most_runs: int = MAX_RUNS, hide: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Of nothing yet: `start` begins. `hide` are secrets that are not to stand in a run's output."""
        self._load = load
        self._grace = grace
        self._hide = hide
        self._most_runs = most_runs
        self._tasks = tasks
        self._concurrency = concurrency
        self._idle: list[Attended] = []
        self._busy: set[Attended] = set()
        self._leaving: list[Attended] = []
        self._why = ""
        self._failures = 0
        self._not_before = 0.0
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._look_after, name="hermes-cron-pool", daemon=True)

    def start(self) -> None:
        """Begin to start children; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Let every child end, and kill those that do not, with all that stayed in their groups."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(2 * _LEAVE_S)
        with self._changed:
            children = [*self._idle, *self._leaving]
            self._idle, self._leaving = [], []
            for child in self._busy:
                child.kill()
            self._changed.wait_for(lambda: not self._busy, _LEAVE_S)
            children += [*self._busy, *self._leaving]
        _end(children)

    def execute(self, run: Run, sign: StopSign) -> Run:
        """The run as it ended; `abandoned` where its process died of it. Nothing a task does gets out of here."""
        task = self._tasks.get(run.task)
        timeout = run.timeout if run.timeout is not None or task is None else task.timeout
        for _ in range(_TRIES):
            child = self._take(sign)
            if child is None:
                return self._not_run(run, sign)
            sign.inside = True
            try:
                ended = child.run(run, sign, timeout)
            finally:
                sign.inside = False
                self._give(child)
            # One that died before it began the run, while it had nothing to do, has not died of it.
            if child.begun or ended.state is not RunState.ABANDONED:
                break
        return ended

    def kill_lost(self) -> None:
        """Kill the children that were told to stop and did not: a body that lost its lease has no right to go on."""
        # Without the lock: who renews leases waits for nobody here.
        for child in tuple(self._busy):
            child.kill_if_overdue()

    def _not_run(self, run: Run, sign: StopSign) -> Run:
        if sign.up():
            return replace(run, state=RunState.CANCELLED, error=sign.reason)
        return replace(run, state=RunState.FAILED, error=f"no process can be started for it: {self._why}"[:500])

    def _take(self, sign: StopSign) -> Attended | None:
        """A warm child; None where the run is to be stopped, or where none can be had."""
        with self._changed:
            while not sign.up():
                if self._over:
                    sign.put_up("its worker drains", hand_back=True)
                    break
                while self._idle:
                    child = self._idle.pop()
                    if child.look():
                        self._busy.add(child)
                        return child
                    self._leave(child)
                # One failure may be of the moment; at the second the runs are told.
                if self._failures > 1:
                    break
                self._changed.wait(_POLL_S)
        return None

    def _give(self, child: Attended) -> None:
        with self._changed:
            self._busy.discard(child)
            if child.fit:
                self._idle.append(child)
                self._trim()
            else:
                child.kill()
                self._leave(child)
            self._changed.notify_all()

    def _leave(self, child: Attended) -> None:
        self._leaving.append(child)
        self._changed.notify_all()

    def _trim(self) -> None:
        """Let the worn ones go, once there are enough without them: no slot waits for a start."""
        if self._short():
            return
        for child in [child for child in self._idle if child.runs >= self._most_runs]:
            self._idle.remove(child)
            self._leave(child)

    def _short(self) -> bool:
        return sum(child.runs < self._most_runs for child in (*self._idle, *self._busy)) < self._concurrency

    def _look_after(self) -> None:
        while not self._over:
            try:
                self._round()
            except Exception:  # noqa: BLE001 - without this thread no child would ever be replaced.
                _log.exception("the pool could not be looked after")

    def _round(self) -> None:
        with self._changed:
            leaving, self._leaving = self._leaving, []
        _end(leaving)
        if self._due():
            self._start_one()
        with self._changed:
            for child in [child for child in self._idle if not child.look()]:
                self._idle.remove(child)
                self._leave(child)
            self._changed.wait_for(lambda: self._over or self._leaving or self._due(), _LOOK_S)

    def _due(self) -> bool:
        return self._short() and monotonic() >= self._not_before

    def _start_one(self) -> None:
        # One after another: the first is ready soonest, and one that cannot start is told of once.
        child = None
        try:
            child = Attended(self._load, self._grace, self._hide)
            why = child.until_ready(READY_S, lambda: self._over)
        except OSError as error:
            why = str(error)
        with self._changed:
            if child is not None and child.ready:
                self._idle.append(child)
                self._trim()
            elif child is not None:
                self._leave(child)
            self._tell(why)
            self._changed.notify_all()

    def _tell(self, why: str) -> None:
        if why:
            self._failures += 1
            pause = min(_MOST_BACKOFF_S, _BACKOFF_S * 2 ** min(self._failures, 16))
            self._not_before = monotonic() + pause
            if why != self._why and not self._over:
                _log.error("no process can be started for runs, and they fail until one can: %s", why)
        elif self._failures:
            self._failures = 0
            _log.info("processes for runs can be started again")
        self._why = why


def _end(children: list[Attended]) -> None:
    for child in children:
        child.let_go()
    until = monotonic() + _LEAVE_S
    for child in children:
        child.until_over(until)
        child.close()
