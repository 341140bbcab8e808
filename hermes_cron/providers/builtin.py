"""`InProcessCronScheduler`: the ticker that is always there. It rings the bell of every job whose wake has come."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from datetime import datetime, timedelta

from hermes_cron.contract import SENTINEL_PREFIX
from hermes_cron.errors import HermesCronError, StoreError
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Broker, Reconciled, Store
from hermes_cron.record import Moment, Record
from hermes_cron.rules import arms

READ_AGAIN_S = 1.0
"""How often the store is asked at least: others change it, too."""

_LONGEST_PAUSE_S = 10.0
_JOIN_S = 5.0
_LIMIT = 500
_BAD_ROWS = 3
_TOKEN = "builtin"  # noqa: S105 - the name of an arm's lease, no secret.
_log = logging.getLogger("hermes_cron.builtin")


def released(record: Record, moment: Moment) -> tuple[Record, bool]:
    """Confirm that nothing outside holds an alarm for this id, if that is what is wanted; answers whether it was.

    An alarm that is wanted stays wanted: a ticker confirms nothing. A sentinel that is wanted is dropped.
    """
    if record.job is None and record.job_id.startswith(SENTINEL_PREFIX) and record.arm.wanted:
        record, _ = arms.push(record, moment, wake_at=None, slack=timedelta(0))
    if record.arm.wake_at is not None:
        return record, False
    record, order = arms.lease(record, moment, token=_TOKEN)
    if order is None:
        return record, False
    record, _ = arms.confirm(record, moment, order=order)
    return record, True


class InProcessCronScheduler:
    """Arms fires with a thread of this process. It may run in every process at once: the claim takes each fire once.

    It confirms no alarm, so while any job has a wake the store's load is not zero, and nothing sleeps over it.
    `warning` says for whom it stands in, and why; empty when it was asked for.
    """

    name = "builtin"
    confirms = False

    def __init__(self, *, warning: str = "") -> None:
        self.warning = warning
        self._store: Store | None = None
        self._ticker: _Ticker | None = None

    def is_available(self) -> bool:
        """Always."""
        return True

    def attach(self, store: Store) -> None:
        """Work for this store from now on: enough for a one-off command. Opens nothing, starts nothing."""
        self._store = store

    def start(self, store: Store, broker: Broker) -> None:
        """Attach, leave the ticker behind, reconcile fully, and return."""
        self.stop()
        self.attach(store)
        self._ticker = _Ticker(store, broker)
        self._ticker.start()
        try:
            self.reconcile(full=True)
        except StoreError as error:
            _log.warning("the store could not be reconciled at start: %s", error)

    def stop(self) -> None:
        """End the ticker. Stopping twice is stopping once."""
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.stop()

    def arm(self, job_id: str, within: float) -> bool:
        """Have the ticker look again; always true, for the ticker holds whatever the store wants."""
        self._release((job_id,))
        return True

    def on_jobs_changed(self, job_ids: Collection[str]) -> Collection[str]:
        """Have the ticker look again. Nothing is left wanted that anybody outside would have to hold."""
        self._release(job_ids)
        return ()

    def reconcile(self, full: bool = False, cancel_orphans: bool = False) -> Reconciled:
        """Confirm what need not be held any more. Nothing outside holds anything, so there is nothing to repair."""
        store = self._store
        if store is None:
            return Reconciled()
        wanted = [record for record in store.arms() if record.arm.wanted]
        over = [r.job_id for r in wanted if r.arm.wake_at is None or r.job_id.startswith(SENTINEL_PREFIX)]
        return Reconciled(disarmed=self._release(over))

    def held(self) -> None:
        """None: nothing outside holds alarms."""
        return

    def _release(self, job_ids: Collection[str]) -> tuple[str, ...]:
        done: tuple[str, ...] = ()
        try:
            if self._store is not None:
                done = tuple(job_id for job_id in job_ids if self._store.change(job_id, released))
        except StoreError as error:
            _log.warning("it could not be written down that nothing holds an alarm: %s", error)
        if self._ticker is not None:
            self._ticker.nudge()
        return done


class _Ticker:
    """The thread: sleeps until the earliest wake or a nudge, then enqueues each (job, instant) once."""

    def __init__(self, store: Store, broker: Broker) -> None:
        self._store = store
        self._broker = broker
        self._nudged = threading.Event()
        self._stopping = threading.Event()
        self._rung: dict[str, datetime] = {}
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="hermes-cron-ticker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def nudge(self) -> None:
        self._nudged.set()

    def stop(self) -> None:
        self._stopping.set()
        self._nudged.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._nudged.clear()
            self._nudged.wait(self._tick())

    def _tick(self) -> float:
        """Enqueue what is overdue; the seconds until there may be more."""
        try:
            pause = self._look()
        except HermesCronError as error:
            return self._failed(f"{error}")
        except Exception:  # noqa: BLE001 - I7 rests on this thread.
            _log.exception("the ticker failed; it goes on")
            return self._failed("")
        if self._failures:
            _log.info("the ticker goes on")
        self._failures = 0
        return pause

    def _failed(self, why: str) -> float:
        if not self._failures and why:
            _log.error("the ticker cannot do its work, and tries again: %s", why)
        self._failures += 1
        pause = min(_LONGEST_PAUSE_S, 0.25 * 2.0 ** min(self._failures, 8))
        # A nudge must not make it spin while something is away.
        self._stopping.wait(min(pause, 0.25))
        return pause

    def _look(self) -> float:
        wake = self._store.next_wake()
        if wake is None:
            self._rung.clear()
            return READ_AGAIN_S
        left = (wake - self._store.now()).total_seconds()
        if left > 0:
            self._rung.clear()
            return min(left, READ_AGAIN_S)
        return self._ring()

    def _ring(self) -> float:
        limit = _LIMIT + len(self._rung)
        overdue = self._store.overdue(limit)
        now = self._store.now()
        self._rung = {job_id: self._rung[job_id] for job_id in overdue if job_id in self._rung}
        bad = 0
        for job_id in overdue:
            if self._stopping.is_set():
                break
            try:
                record = self._store.read(job_id)
            except StoreError as error:
                # One damaged row harms only its own job; a store that is away is met again below.
                bad += 1
                if bad == _BAD_ROWS:
                    raise
                _log.debug("job %s cannot be read: %s", job_id, error)
                continue
            wake_at = record.arm.wake_at if record is not None else None
            # A run whose worker died is overdue, too; its wake is still to come, and the sweep sees to it.
            if wake_at is not None and wake_at <= now and self._rung.get(job_id) != wake_at:
                self._broker.enqueue(Fire(job_id, wake_at, kind="fire"))
                self._rung[job_id] = wake_at
        return READ_AGAIN_S if len(overdue) < limit else 0.0
