"""`Arm`: what is wanted of NAS for one job, and what NAS confirmed.

One arm per job, always at the earliest reason to be awake. It is *wanted* iff what NAS was confirmed to hold
(`held_for`) is not what the job needs (`wake_at`). A call makes it unknown first, and unknown equals nothing, so
that neither a crash, nor a second process, nor a reordered network can leave an older alarm standing as confirmed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

LEASE = timedelta(seconds=10)
"""How long one caller may hold the arm of a job: longer than a call's total deadline (contract.CALL_DEADLINE_S)."""

FRESH = timedelta(seconds=1)
"""How far ahead an alarm is set whose wanted instant is past."""

_NAMED_KEPT = 16
_HAIR = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Order:
    """One call to make to NAS: hold an alarm at `at` (None: hold none), standing for the wake `wake_at`."""

    job_id: str
    token: str
    wake_at: datetime | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Arm:
    """What is wanted of NAS for one job, what NAS confirmed, and who is calling NAS about it now.

    `known` is False from before a call until its answer, and after a fire has spent the alarm; `held_for`
    (the design's `armed_for`) and `armed_at` mean something only while it is True. `named` are instants, still to
    come, that a fire has named already: NAS may take their keys for used.
    """

    wake_at: datetime | None = None
    armed_at: datetime | None = None
    armed_for: datetime | None = None
    known: bool = True
    owner: str | None = None
    owned_until: datetime | None = None
    void: bool = False
    named: tuple[datetime, ...] = ()
    refused: str | None = None

    @property
    def wanted(self) -> bool:
        """Whether NAS must still be told (I11)."""
        return not self.known or self.armed_for != self.wake_at

    def spend(self, fire_at: datetime, now: datetime) -> Arm:
        """A fire named this instant: the alarm it came from is used up, so nothing is known of NAS any more."""
        ahead = tuple(t for t in (*self.named, fire_at) if t > now)[-_NAMED_KEPT:]
        return replace(self, known=False, armed_for=None, armed_at=None, void=self.owner is not None, named=ahead)

    def lease(
        self, job_id: str, token: str, now: datetime, horizon: timedelta | None = None
    ) -> tuple[Arm, Order | None]:
        """Take the right to call NAS; no order while another caller holds it, or when nothing is wanted."""
        if not self.wanted or (self.owned_until is not None and self.owned_until > now):
            return self, None
        order = Order(job_id, token, self.wake_at, self._instant(now, horizon))
        taken = replace(self, known=False, owner=token, owned_until=now + LEASE, void=False)
        return taken, order

    def _instant(self, now: datetime, horizon: timedelta | None) -> datetime | None:
        if self.wake_at is None:
            return None
        at = self.wake_at if self.wake_at > now else now + FRESH
        while at in self.named:
            at += _HAIR
        return at if horizon is None else min(at, now + horizon)

    def confirm(self, order: Order) -> Arm:
        """NAS did as ordered: a compare-and-set on the order's token and on the instant that is wanted now."""
        if self.owner != order.token:
            return self
        free = replace(self, owner=None, owned_until=None, void=False, refused=None)
        if self.void or self.wake_at != order.wake_at:
            return free
        return replace(free, known=True, armed_for=order.wake_at, armed_at=order.at)

    def give_up(self, order: Order, *, settled: bool, refused: str | None = None) -> Arm:
        """The call failed, so it is still wanted.

        Unless it is `settled` (it can no longer reach NAS), the right lapses by time.
        """
        if self.owner != order.token:
            return self
        if settled:
            return replace(self, owner=None, owned_until=None, void=False, refused=refused)
        return replace(self, refused=refused)

    def forget(self) -> Arm:
        """NAS was seen not to hold what it had confirmed."""
        return replace(self, known=False, armed_for=None, armed_at=None, void=self.owner is not None)
