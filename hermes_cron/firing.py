"""See one fire through: claim, arm, begin, run, complete, arm. The story of the system on one page.

The store decides, the scheduler arms, the worker runs the body under a lease that is renewed. A fire is done with
when its claim is decided, granted or refused: from then on the store knows what is left, and finds it again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from hermes_cron.clock import monotonic
from hermes_cron.contract import SENTINEL_PREFIX
from hermes_cron.errors import BrokerError, StoreError
from hermes_cron.failpoints import failpoint
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Broker, CronScheduler, Step, Store
from hermes_cron.rules.claim import Claim, Claimer, claim
from hermes_cron.rules.progress import Ended, Lost, begin, complete, died, hand_back
from hermes_cron.run import Run, RunState, StopSign

R = TypeVar("R")

ARM_S = 3.0
"""How long a run waits for its job's next arm before it begins."""

KEEP_S = 60.0
"""How long a finished run's outcome is offered to a store that cannot be reached."""

_PAUSE_S = 0.5
_log = logging.getLogger("hermes_cron.firing")


Execute = Callable[[Run, StopSign], Run]
"""Run the body of a begun run; the run as it ended, with its output, `abandoned` where its process died of it.

Raises nothing.
"""

Keep = Callable[[Run], AbstractContextManager[StopSign]]
"""Renew the lease of a run as long as the context lasts; the sign says when its body must stop."""


@dataclass(frozen=True, slots=True)
class Firing:
    """What it takes to see fires through: the seams, who claims, and how a body is run."""

    store: Store
    broker: Broker
    scheduler: CronScheduler
    claimer: Claimer
    keep: Keep
    execute: Execute
    awake: Callable[[], None]
    """What else a wake is for: called when a sentinel's fire shows that the normal chain may have failed."""
    keep_s: float = KEEP_S

    def fire_due(self, fire: Fire, ack: Callable[[], None]) -> float | None:
        """Claim, arm, begin, run, complete, arm. Returns the seconds to wait when the fire is early, else None.

        Raises:
            StoreError: The claim could not be decided, and nothing was written. The caller acknowledges the fire all
                the same: the store knows what is due, and the sweep asks it again.
        """
        failpoint("firing.received")
        decided = self.store.change(fire.job_id, partial(claim, fire=fire, claimer=self.claimer))
        if decided.wait is not None:
            return decided.wait
        failpoint("firing.claimed")
        ack()
        failpoint("firing.acked")
        _told(fire, decided)
        self._arm(fire.job_id)
        failpoint("firing.armed")
        if fire.job_id.startswith(SENTINEL_PREFIX):
            self.awake()
        elif decided.run is not None:
            self._run(decided.run)
            self._arm(fire.job_id)
            failpoint("firing.rearmed")
        return None

    def _run(self, run: Run) -> None:
        with self.keep(run) as sign:
            begun = self._write(run, partial(begin, run=run, lease=self.claimer.lease))
            if not isinstance(begun, Run):
                self._not_begun(run, begun)
                return
            failpoint("firing.begun")
            ended = self.execute(begun, sign)
            failpoint("firing.ran")
            # What ended by itself is done, though its worker was about to hand it back.
            back = sign.hand_back and ended.state is RunState.CANCELLED
            if back:
                done = self._write(run, partial(hand_back, run=begun, reason=sign.reason))
            elif ended.state is RunState.ABANDONED:
                done = self._write(run, partial(died, run=begun, reason=ended.error))
            else:
                done = self._write(run, partial(complete, run=ended))
            failpoint("firing.completed")
        self._ended(ended, f"is handed back: {sign.reason}" if back else f"{ended.state} {ended.error}", done)

    def _not_begun(self, run: Run, lost: Lost | None) -> None:
        _log.info(
            "run %s does not start: %s", run.id, lost.reason if lost is not None else "the store cannot be reached"
        )
        if lost is not None and lost.ring:
            self._ring(run.job_id)

    def _ended(self, run: Run, outcome: str, done: Ended | None) -> None:
        outcome = outcome.rstrip()
        if done is None:
            words = "run %s %s, but the store could not be told in %g s: its lease runs out, and it counts as dead"
            _log.error(words, run.id, outcome, self.keep_s)
            return
        if not done.written:
            _log.warning("run %s %s, but it was taken over or closed meanwhile: not written", run.id, outcome)
            return
        _log.info("run %s %s", run.id, outcome)
        if done.ring:
            self._ring(run.job_id)
        self._keep_output(run)

    def _keep_output(self, run: Run) -> None:
        # The outcome is written, and stands whatever becomes of this; a run that was taken over comes here never (I6).
        if run.output is None or not run.output.lines:
            return
        try:
            self.store.keep_output(run, run.output)
        except Exception as error:  # noqa: BLE001 - what a body said may be anything, and is worth no fire.
            _log.warning("what run %s said is not kept: %s: %s", run.id, type(error).__name__, error)

    def _write(self, run: Run, step: Step[R]) -> R | None:
        """Write it, again and again for `keep_s`; the lease is renewed meanwhile, or somebody takes the run over."""
        until = monotonic() + self.keep_s
        while True:
            try:
                return self.store.change(run.job_id, step)
            except StoreError as error:
                if monotonic() >= until:
                    _log.error("run %s: %s", run.id, error)
                    return None
                time.sleep(_PAUSE_S)

    def _arm(self, job_id: str) -> None:
        # I11: whatever happens here, a wanted arm stays wanted in the store, and a live process goes on trying.
        try:
            if not self.scheduler.arm(job_id, ARM_S):
                _log.warning("the next arm of %s is not confirmed yet; it stays wanted", job_id)
        except Exception as error:  # noqa: BLE001 - I17: no fault of a provider, a plugin's too, stops a run.
            _log.warning("the next arm of %s is not confirmed yet: %s: %s", job_id, type(error).__name__, error)

    def _ring(self, job_id: str) -> None:
        try:
            self.broker.enqueue(Fire(job_id, kind="sweep"))
        except BrokerError as error:
            _log.warning(
                "job %s has a waiting fire and cannot be announced (%s); the sweep will find it", job_id, error
            )


def _told(fire: Fire, decided: Claim) -> None:
    if decided.run is not None:
        _log.info("run %s is claimed for the fire of %s", decided.run.id, decided.run.key)
    else:
        which = f"{fire.job_id} {fire.fire_at or ''}".rstrip()
        _log.info("the fire of %s is refused: %s", which, decided.reason)
