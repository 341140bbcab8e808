"""The steps around one call to NAS, and the sentinels' wakes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hermes_cron.arm import FRESH, LEASE, Arm, Order
from hermes_cron.fire import Fire
from hermes_cron.record import Moment, Record
from hermes_cron.rules import arms, change
from hermes_cron.rules.claim import Claimer, claim
from tests.unit.rules.world import HOUR, MINUTE, NOON, SECOND, World, job_of

QUARTER = 15 * MINUTE


def ordered(world: World, token: str = "t", **options: Any) -> Order:
    """Take the lease, which must be free, of an arm that must be wanted."""
    order = world.apply(arms.lease, token=token, **options)
    assert isinstance(order, Order)
    return order


def armed() -> World:
    """A world whose job NAS has confirmed an alarm for."""
    world = World(job_of())
    assert world.apply(arms.confirm, order=ordered(world)) is False
    return world


def test_i10_what_is_armed_is_not_wanted_again() -> None:
    world = armed()
    assert (world.record.arm.armed_at, world.record.arm.wanted) == (NOON + QUARTER, False)
    assert world.apply(arms.lease, token="u") is None


def test_i11_an_arm_whose_answer_was_lost_stays_wanted() -> None:
    world = World(job_of())
    order = ordered(world)
    world.apply(arms.give_up, order=order, settled=False)
    assert world.record.arm.wanted
    assert world.apply(arms.lease, token="u") is None
    world.now += LEASE
    assert ordered(world, "u").at == order.at


def test_a_call_that_can_no_longer_reach_nas_frees_the_right_at_once() -> None:
    world = World(job_of())
    world.apply(arms.give_up, order=ordered(world), settled=True, refused="invalid_client")
    assert world.record.arm.refused == "invalid_client"
    assert world.record.arm.wanted
    world.apply(arms.confirm, order=ordered(world, "u"))
    assert world.record.arm.refused is None


def test_a_confirm_after_a_change_confirms_nothing() -> None:
    world = World(job_of())
    order = ordered(world)
    world.now += SECOND
    world.apply(change.pause)
    assert world.apply(arms.confirm, order=order) is True
    assert ordered(world, "u").at is None


def test_a_confirm_of_a_caller_whose_right_lapsed_confirms_nothing() -> None:
    world = World(job_of())
    late = ordered(world)
    world.now += LEASE
    order = ordered(world, "u")
    assert world.apply(arms.confirm, order=late) is True
    assert world.apply(arms.confirm, order=order) is False


def test_a_fire_that_comes_during_the_call_voids_it() -> None:
    world = World(job_of())
    order = ordered(world)
    world.claim(NOON)
    assert world.apply(arms.confirm, order=order) is True


def test_i13_every_fire_that_names_an_instant_spends_the_alarm() -> None:
    world = armed()
    world.claim()
    assert not world.record.arm.wanted
    world.claim(NOON)
    assert world.record.arm.wanted


def test_an_instant_that_a_fire_has_named_is_armed_under_a_new_key() -> None:
    world = armed()
    assert world.claim(NOON + QUARTER).reason == "early"
    order = ordered(world)
    assert order.at is not None
    assert timedelta(0) < order.at - (NOON + QUARTER) < SECOND


def test_a_wake_that_is_past_is_armed_as_a_fresh_one() -> None:
    world = World(job_of())
    world.now += HOUR
    assert ordered(world).at == world.now + FRESH


def test_a_far_wake_is_armed_by_way_of_a_nearer_instant() -> None:
    world = World(job_of())
    order = ordered(world, horizon=MINUTE)
    assert (order.at, order.wake_at) == (NOON + MINUTE, NOON + QUARTER)
    assert world.apply(arms.confirm, order=order) is False
    world.now += MINUTE
    assert world.claim(world.now).reason == "stale"
    assert world.record.arm.wanted


def test_what_nas_forgot_is_wanted_again() -> None:
    world = armed()
    world.apply(arms.forget)
    assert ordered(world).at == NOON + QUARTER


def test_while_stopped_nothing_is_wanted_and_a_fire_is_answered_with_a_cancel() -> None:
    world = armed()
    world.stopped = True
    assert world.apply(arms.lease, token="u") is None
    world.now += QUARTER
    assert world.claim(world.now).reason == "stopped"
    order = ordered(world)
    assert order.at is None
    assert world.apply(arms.confirm, order=order) is False
    world.apply(change.after_stop)
    world.stopped = False
    assert ordered(world, "u").at == world.job.next_fire_at


def test_a_disarm_is_wanted_while_stopped_too() -> None:
    world = armed()
    world.stopped = True
    world.apply(change.pause)
    order = ordered(world)
    assert order.at is None
    assert world.apply(arms.confirm, order=order) is False
    assert not world.record.arm.wanted


def pushed(record: Record, wake_at: datetime | None, now: datetime = NOON) -> tuple[Record, bool]:
    return arms.push(record, Moment(now), wake_at=wake_at, slack=MINUTE)


def test_a_sentinel_is_pushed_on_only_by_more_than_its_slack() -> None:
    record = Record("_wake.1", arm=Arm(wake_at=NOON + HOUR, armed_for=NOON + HOUR, armed_at=NOON + HOUR))
    assert pushed(record, NOON + HOUR + MINUTE) == (record, False)
    moved, wanted = pushed(record, NOON + HOUR + MINUTE + SECOND)
    assert (moved.arm.wake_at, wanted) == (NOON + HOUR + MINUTE + SECOND, True)


def test_a_sentinel_that_fired_is_armed_anew_or_cancelled() -> None:
    record = Record("_wake.1", arm=Arm(wake_at=NOON, armed_for=NOON, armed_at=NOON))
    fire, claimer = Fire("_wake.1", NOON), Claimer("w", 30 * SECOND)
    record, decided = claim(record, Moment(NOON), fire=fire, claimer=claimer)
    assert (decided.run, record.arm.wanted) == (None, True)
    assert pushed(record, NOON + SECOND)[0].arm.wake_at == NOON + SECOND
    cancelled, wanted = pushed(record, None)
    assert (cancelled.arm.wake_at, wanted) == (None, True)


def test_a_sentinel_that_nobody_needs_leaves_nothing() -> None:
    record = replace(Record("_wake.1"), arm=Arm(named=(NOON,)))
    assert pushed(record, None) == (Record("_wake.1"), False)
