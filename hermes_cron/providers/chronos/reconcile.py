"""Reconcile: make NAS hold what the store wants; fully, by what NAS lists, also what it forgot or kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from hermes_cron.arm import Arm, Order
from hermes_cron.clock import monotonic
from hermes_cron.errors import NasError, NasRefused
from hermes_cron.interfaces import Reconciled, Store
from hermes_cron.providers.chronos import steps
from hermes_cron.providers.chronos.answers import NasLacks
from hermes_cron.providers.chronos.armer import Armer, Settled
from hermes_cron.providers.chronos.calls import Outcomes, carry_out
from hermes_cron.providers.chronos.client import NasClient
from hermes_cron.providers.chronos.standing import INVALID_CLIENT
from hermes_cron.record import Record

_log = logging.getLogger("hermes_cron.chronos")

Listed = Mapping[str, datetime | None]
IN_DELIVERY = timedelta(seconds=60)
"""For how long NAS's list may leave out an alarm that has come: it is on its way to us."""
_MOST = 100_000


class Reconciler:
    """One reconcile of one store with NAS, before the monotonic instant `until`; to be used once."""

    def __init__(self, store: Store, client: NasClient, armer: Armer, until: float) -> None:
        self._store = store
        self._client = client
        self._armer = armer
        self._until = until
        self._listed: Listed | None = None
        self._precision = timedelta(0)
        self._parts: list[Settled] = []
        self.looked = False
        """Whether what NAS lists was compared with what the store knows."""

    def run(self) -> Reconciled:
        """Arm what is wanted, disarm what is not."""
        self._settle(self._armer.settle_free(self._store.wanted(_MOST), self._until))
        return self._result(())

    def run_full(self, *, cancel_orphans: bool) -> Reconciled:
        """The same, and repair what NAS forgot or kept. Orphans are cancelled only if they may be ours to cancel."""
        before = {record.job_id: record for record in self._store.arms()}
        self._precision = self._client.capabilities(self._until - monotonic()).precision
        # What NAS holds exactly is confirmed by its list alone, asked for when nobody else may call about those ids.
        self._settle(self._armer.settle_free(self._store.wanted(_MOST), self._until, make=self._by_list))
        try:
            listed = self._listed if self._listed is not None else self._client.armed(self._until)
        except NasError as error:
            # A NAS without a list will not have one the next time either.
            self.looked = isinstance(error, NasLacks)
            _log.warning("NAS's list cannot be had, so what it forgot or kept is not known: %s", error)
            if isinstance(error, NasRefused) and error.reason == INVALID_CLIENT:
                self._none_held(before)
            return self._result(())
        self._settle(self._armer.settle_free(self._astray(before, listed), self._until))
        orphans = tuple(sorted(job_id for job_id in listed if job_id not in before))
        self._orphans(orphans, cancel_orphans or any(map(confirmed, before.values())))
        self.looked = True
        return self._result(orphans)

    def _by_list(self, orders: Sequence[Order], until: float) -> Outcomes:
        try:
            self._listed = listed = self._client.armed(until)
        except NasError as error:
            barred = self._client.standing.objection() is not None
            if barred and isinstance(error, NasRefused):
                return dict.fromkeys((order.job_id for order in orders), error)
            if error.sent or barred:
                # The list changes nothing at NAS: these orders were never sent.
                return {order.job_id: NasError(error.message, retry_after=error.retry_after) for order in orders}
            return carry_out(self._client, orders, until)
        now = self._store.now()
        held = {o.job_id for o in orders if o.at and o.at > now and self._same(o.at, listed.get(o.job_id))}
        left = [order for order in orders if order.job_id not in held]
        return {**carry_out(self._client, left, until), **dict.fromkeys(held)}

    def _none_held(self, before: Mapping[str, Record]) -> None:
        # I11: who is unknown to NAS is woken by nobody, so what was confirmed once is wanted again.
        wakes = [r for r in before.values() if r.arm.wake_at is not None and not r.arm.wanted]
        ids = [r.job_id for r in wakes if self._store.change(r.job_id, partial(steps.forget_if_still, seen=r.arm))]
        self._settle(self._armer.settle_free(ids, self._until))

    def _same(self, at: datetime, listed: datetime | None) -> bool:
        return listed is not None and abs(at - listed) <= self._precision

    def _astray(self, before: Mapping[str, Record], listed: Listed) -> list[str]:
        """The ids of which NAS holds something else than it had confirmed; the store forgets the confirmation."""
        now = self._store.now()
        return [
            job_id
            for job_id, record in before.items()
            if not record.arm.wanted
            and self._differs(record.arm, job_id, listed, now)
            and self._store.change(job_id, partial(steps.forget_if_still, seen=record.arm))
        ]

    def _differs(self, arm: Arm, job_id: str, listed: Listed, now: datetime) -> bool:
        if arm.armed_at is None:
            return job_id in listed
        if now - IN_DELIVERY <= arm.armed_at <= now:
            return False
        return not self._same(arm.armed_at, listed.get(job_id)) or arm.armed_at <= now

    def _orphans(self, orphans: Sequence[str], ours: bool) -> None:
        if orphans and ours:
            # One that has become a job since then is settled as that job wants it.
            self._settle(self._armer.settle_free(orphans, self._until))
        elif orphans:
            _log.warning(
                "NAS holds %d alarms of jobs that this store does not know (%s). The store never confirmed an alarm,"
                " so it may be the wrong one, and nothing is cancelled; `hermes-cron arms reconcile` cancels them.",
                len(orphans), ", ".join(orphans[:5]),
            )  # fmt: skip

    def _settle(self, part: Settled) -> None:
        self._parts.append(part)

    def _result(self, orphans: Sequence[str]) -> Reconciled:
        armed: dict[str, None] = {}
        disarmed: dict[str, None] = {}
        wanted: dict[str, None] = {}
        for part in self._parts:
            wanted.update(dict.fromkeys(part.wanted))
            for job_id in (*part.armed, *part.disarmed):
                wanted.pop(job_id, None)
            armed.update(dict.fromkeys(part.armed))
            disarmed.update(dict.fromkeys(part.disarmed))
        return Reconciled(tuple(armed), tuple(disarmed), tuple(orphans), tuple(wanted))


def confirmed(record: Record) -> bool:
    """Whether this record shows that NAS once confirmed an alarm to this store."""
    return record.arm.known and record.arm.armed_at is not None
