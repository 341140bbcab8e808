"""`Armer`: makes true at NAS what the store wants of some ids. Lease, call, confirm or give up (promises I10, I11)."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from hermes_cron.arm import LEASE, Order
from hermes_cron.clock import boot_seconds, monotonic
from hermes_cron.contract import BATCH_LIMIT, CALL_DEADLINE_S
from hermes_cron.errors import NasError, NasRefused, StoreError
from hermes_cron.failpoints import failpoint
from hermes_cron.interfaces import Store
from hermes_cron.providers.chronos import steps
from hermes_cron.providers.chronos.backoff import Backoff
from hermes_cron.providers.chronos.calls import Outcomes, carry_out
from hermes_cron.providers.chronos.client import NasClient

_log = logging.getLogger("hermes_cron.chronos")

_LEASING_S = 2.0
_CALLING_S = 5.0
_PAUSE_S = 0.03
_BAD_ROWS = 2
_FREEZE_S = LEASE.total_seconds() - CALL_DEADLINE_S

Make = Callable[[Sequence[Order], float], Outcomes]


@dataclass
class Settled:
    """What became of some ids: those armed and disarmed now, and those that are still wanted.

    `away` is the error that says something about every further call, too: NAS is away, or refuses our credential.
    """

    armed: list[str] = field(default_factory=list)
    disarmed: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    away: NasError | None = None


@dataclass
class _Settling:
    """One settling: the ids that still wait for a call, until when, and how."""

    waiting: deque[str]
    until: float
    horizon: timedelta | None
    make: Make
    found: Settled = field(default_factory=Settled)
    bad: int = 0

    def result(self, busy: Collection[str]) -> Settled:
        wanted = list(dict.fromkeys((*self.found.wanted, *self.waiting, *busy)))
        return replace(self.found, wanted=wanted)


class Armer:
    """Carries out for NAS what one store wants. May be used from any thread."""

    def __init__(self, store: Store, client: NasClient, backoff: Backoff) -> None:
        self._store = store
        self._client = client
        self._backoff = backoff

    def settle(self, job_ids: Collection[str], until: float) -> Settled:
        """Make true what the store wants of these ids, before the monotonic instant `until`.

        Ids that change meanwhile are gone over again; for those that another caller is busy with it waits, in its time.
        """
        work = self._settling(job_ids, until, None)
        while work.waiting and monotonic() < until and work.found.away is None:
            busy = self._round(work)
            if busy and not work.waiting:
                time.sleep(max(0.0, min(_PAUSE_S, until - monotonic())))
            work.waiting.extend(busy)
        return work.result(())

    def settle_free(self, job_ids: Collection[str], until: float, *, make: Make | None = None) -> Settled:
        """The same, but those that another caller is busy with are left to it, and count as wanted.

        `make` carries out orders, which nobody else may carry out until it returns; by default by calling NAS.
        """
        work, busy = self._settling(job_ids, until, make), []
        while work.waiting and monotonic() < until and work.found.away is None:
            busy += self._round(work)
        return work.result(busy)

    def _settling(self, job_ids: Collection[str], until: float, make: Make | None) -> _Settling:
        waiting = deque(dict.fromkeys(job_ids))
        horizon = self._horizon(until) if waiting else None
        return _Settling(waiting, until, horizon, make or partial(carry_out, self._client))

    def _horizon(self, until: float) -> timedelta | None:
        # A NAS that is away tells nothing: what time there is, is for the call itself.
        if not self._backoff.down:
            left = max(0.0, until - monotonic())
            self._client.prepare(left)
            self._client.capabilities(min(CALL_DEADLINE_S, left) / 2)
        return self._client.known.horizon

    def _round(self, work: _Settling) -> list[str]:
        """Lease, call and conclude for as many as one call may carry; the ids that others are busy with."""
        began = boot_seconds()
        orders, busy = self._lease(work)
        outcomes: Outcomes = {}
        if orders and boot_seconds() - began > _FREEZE_S:
            # We were frozen meanwhile, and by now another may be calling: nothing is sent.
            outcomes = {order.job_id: NasError("This process was frozen.") for order in orders}
        elif orders:
            failpoint("arm.leased")
            outcomes = work.make(orders, min(work.until, monotonic() + _CALLING_S))
            failpoint("arm.called")
            self._judge(outcomes, work.found)
        work.waiting.extend(self._conclude(orders, outcomes, work.found))
        if orders:
            failpoint("arm.confirmed")
        return busy

    def _lease(self, work: _Settling) -> tuple[list[Order], list[str]]:
        """Take the right to call for as many of those that wait as one call may carry; and those that are busy."""
        token = uuid.uuid4().hex
        until = min(work.until, monotonic() + _LEASING_S)
        orders: list[Order] = []
        busy: list[str] = []
        while work.waiting and len(orders) < BATCH_LIMIT and monotonic() < until:
            job_id = work.waiting.popleft()
            try:
                taken = self._store.change(job_id, partial(steps.take, token=token, horizon=work.horizon))
            except StoreError as error:
                _log.warning("the alarm of %s cannot be looked up: %s", job_id, error)
                work.found.wanted.append(job_id)
                work.bad += 1
                # One row may be damaged; a store that is away would hold us up at every further one.
                if work.bad > _BAD_ROWS:
                    work.found.wanted += work.waiting
                    work.waiting.clear()
                continue
            if taken.order is not None:
                orders.append(taken.order)
            elif taken.wanted:
                busy.append(job_id)
                self._backoff.busy(job_id, taken.busy_s)
        return orders, busy

    def _judge(self, outcomes: Outcomes, found: Settled) -> None:
        """Whether NAS is there at all, from what became of some calls."""
        errors = [error for error in outcomes.values() if error is not None]
        barred = self._client.standing.objection()
        alive = len(errors) < len(outcomes) or any(isinstance(error, NasRefused) for error in errors)
        if errors:
            level = logging.DEBUG if self._backoff.down else logging.WARNING
            _log.log(level, "%d of %d alarms are not confirmed by NAS: %s", len(errors), len(outcomes), errors[0])
        if barred is not None or not alive:
            found.away = barred or errors[0]
            self._backoff.round_failed()

    def _conclude(self, orders: Sequence[Order], outcomes: Outcomes, found: Settled) -> list[str]:
        """Write down what became of the orders; the ids that changed meanwhile, and are to be gone over again."""
        again: list[str] = []
        for order in orders:
            error = outcomes[order.job_id]
            try:
                if error is not None:
                    self._failed(order, error, found)
                elif self._store.change(order.job_id, partial(steps.succeeded, order=order)):
                    again.append(order.job_id)
                else:
                    (found.disarmed if order.at is None else found.armed).append(order.job_id)
                    self._backoff.succeeded(order.job_id)
            except StoreError as lost:
                # The right lapses by itself, and the arm stays wanted.
                found.wanted.append(order.job_id)
                _log.warning("NAS was called for %s, which cannot be written down: %s", order.job_id, lost)
        return again

    def _failed(self, order: Order, error: NasError, found: Settled) -> None:
        found.wanted.append(order.job_id)
        refused = error.reason if isinstance(error, NasRefused) else None
        step = partial(steps.failed, order=order, sent=error.sent, refused=refused)
        held = self._store.change(order.job_id, step)
        self._backoff.failed(order.job_id, error, held.total_seconds())
