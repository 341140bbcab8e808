"""The pure steps of one call to NAS, as this provider takes them: those of `rules.arms`, and what a late call needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from hermes_cron.arm import Arm, Order
from hermes_cron.record import Moment, Record
from hermes_cron.rules import arms


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of asking for the right to call NAS about one id: the order to carry out, or why there is none.

    Without an order either nothing is `wanted`, or another caller has the right, for `busy_s` seconds at most.
    """

    order: Order | None = None
    wanted: bool = False
    busy_s: float = 0.0


def take(record: Record, moment: Moment, *, token: str, horizon: timedelta | None) -> tuple[Record, Taken]:
    """Take the right to call NAS about this id; of one that nobody knows, NAS is to hold nothing."""
    if record.blank:
        record, _ = arms.forget(record, moment)
    before = record.arm
    record, order = arms.lease(record, moment, token=token, horizon=horizon)
    if order is not None:
        return record, Taken(order, wanted=True)
    if not before.wanted or (moment.stopped and before.wake_at is not None and before.known):
        return record, Taken()
    busy = before.owned_until - moment.now if before.owned_until is not None else timedelta(0)
    return record, Taken(wanted=True, busy_s=max(0.0, busy.total_seconds()))


def succeeded(record: Record, moment: Moment, *, order: Order) -> tuple[Record, bool]:
    """NAS did as ordered; the answer tells whether something is still wanted.

    Where the right had lapsed and another took it, this call came late and may have undone the other's: what NAS
    holds is unknown then (I11).
    """
    if record.arm.owner != order.token:
        record, _ = arms.forget(record, moment)
        return record, True
    return arms.confirm(record, moment, order=order)


def failed(
    record: Record, moment: Moment, *, order: Order, sent: bool, refused: str | None
) -> tuple[Record, timedelta]:
    """The call failed; the answer is how long nobody may call NAS about this id, since a `sent` call may yet arrive."""
    if record.arm.owner != order.token:
        return (arms.forget(record, moment)[0] if sent else record), timedelta(0)
    held = record.arm.owned_until
    record, _ = arms.give_up(record, moment, order=order, settled=not sent, refused=refused)
    return record, held - moment.now if sent and held is not None else timedelta(0)


def forget_if_still(record: Record, moment: Moment, *, seen: Arm) -> tuple[Record, bool]:
    """NAS was seen not to hold what it had confirmed; nothing is forgotten that was armed otherwise since then."""
    if record.arm != seen:
        return record, False
    return arms.forget(record, moment)[0], True


def drop_sentinel(record: Record, moment: Moment) -> tuple[Record, bool]:
    """Cancel a sentinel that the ladder no longer has; answers whether NAS must be told."""
    if record.job is not None or record.blank:
        return record, False
    return arms.push(record, moment, wake_at=None, slack=timedelta(0))


def push_rung(
    record: Record, moment: Moment, *, rung: timedelta, base: timedelta, horizon: timedelta | None
) -> tuple[Record, bool]:
    """Move a sentinel to `rung` after the earliest wake, which is `base` from now, but not beyond NAS's horizon."""
    after = base + rung
    if horizon is not None:
        after, rung = min(after, horizon), min(rung, horizon)
    if moment.stopped:
        return arms.push(record, moment, wake_at=None, slack=timedelta(0))
    return arms.push(record, moment, wake_at=moment.now + after, slack=rung / 10)
