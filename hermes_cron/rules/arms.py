"""The steps around one call to NAS, and the sentinels' wakes (promises I10, I11)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hermes_cron.arm import Order
from hermes_cron.record import Moment, Record
from hermes_cron.rules.wake import purged


def lease(
    record: Record, moment: Moment, *, token: str, horizon: timedelta | None = None
) -> tuple[Record, Order | None]:
    """Take the right to call NAS about this id; None while another has it, or nothing is wanted.

    While everything is stopped no alarm is wanted: a fire, which has spent its own, is answered with a cancel.
    """
    arm = record.arm
    if moment.stopped and arm.wake_at is not None:
        if arm.known:
            return record, None
        # The cancel stands for no wake of the job, so it confirms nothing, and `start` finds the arm wanted.
        arm = replace(arm, wake_at=None)
    arm, order = arm.lease(record.job_id, token, moment.now, horizon)
    return replace(record, arm=replace(arm, wake_at=record.arm.wake_at)), order


def confirm(record: Record, moment: Moment, *, order: Order) -> tuple[Record, bool]:
    """NAS did as ordered; the answer tells whether something is still wanted, because it changed meanwhile."""
    record = replace(record, arm=record.arm.confirm(order))
    wanted = record.arm.wanted and not (moment.stopped and record.arm.wake_at is not None)
    return purged(record, moment), wanted


def give_up(
    record: Record, moment: Moment, *, order: Order, settled: bool, refused: str | None = None
) -> tuple[Record, None]:
    """The call failed; `settled` says that it can no longer reach NAS, else the right lapses by time."""
    return replace(record, arm=record.arm.give_up(order, settled=settled, refused=refused)), None


def forget(record: Record, moment: Moment) -> tuple[Record, None]:
    """NAS was seen not to hold what it had confirmed: armed anew if there is still a wake."""
    return replace(record, arm=record.arm.forget()), None


def push(record: Record, moment: Moment, *, wake_at: datetime | None, slack: timedelta) -> tuple[Record, bool]:
    """Move a sentinel's wake, unless it would move by less than `slack`; None cancels it. Answers whether it is wanted.

    A sentinel whose alarm was spent, or whose wake is past, is moved however little that is.
    """
    arm = record.arm
    close = arm.wake_at is not None and wake_at is not None and abs(wake_at - arm.wake_at) <= slack
    if not (close and arm.known and arm.wake_at is not None and arm.wake_at > moment.now):
        arm = replace(arm, wake_at=wake_at)
        record = replace(record, arm=arm)
    if record.job is None and arm.wake_at is None and not arm.wanted:
        return replace(record, arm=type(arm)()), False
    return record, arm.wanted
