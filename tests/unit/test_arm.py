"""`Arm`: wanted is what NAS was not confirmed to hold; a call makes it unknown, and unknown equals nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hermes_cron.arm import FRESH, LEASE, Arm, Order

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ARMED = Arm(wake_at=NOON, armed_at=NOON, armed_for=NOON)


@pytest.mark.parametrize(
    ("arm", "wanted"),
    [
        (Arm(), False), (ARMED, False), (Arm(wake_at=NOON), True), (replace(ARMED, wake_at=NOON + HOUR), True),
        (replace(ARMED, wake_at=None), True), (Arm(known=False), True), (replace(ARMED, known=False), True),
    ],
)  # fmt: skip
def test_i11_it_is_wanted_iff_what_nas_holds_is_not_the_wake(arm: Arm, wanted: bool) -> None:
    assert arm.wanted is wanted


def leased(arm: Arm, now: datetime = NOON - HOUR) -> tuple[Arm, Order]:
    taken, order = arm.lease("a", "t", now)
    assert order is not None
    return taken, order


def test_one_caller_at_a_time() -> None:
    taken, order = leased(Arm(wake_at=NOON))
    assert (order.at, order.wake_at, taken.known) == (NOON, NOON, False)
    assert taken.lease("a", "u", NOON - HOUR) == (taken, None)
    again, second = taken.lease("a", "u", NOON - HOUR + LEASE)
    assert second is not None
    assert again.owner == "u"


def test_a_call_that_never_answers_leaves_it_unknown() -> None:
    taken, _ = leased(replace(ARMED, wake_at=NOON + HOUR))
    assert taken.wanted
    assert replace(taken, wake_at=NOON).wanted, "what NAS held before the call is no longer known"


def test_a_confirm_is_a_compare_and_set_on_token_and_instant() -> None:
    taken, order = leased(Arm(wake_at=NOON))
    assert not taken.confirm(order).wanted
    assert taken.confirm(replace(order, token="u")) == taken
    assert replace(taken, wake_at=NOON + HOUR).confirm(order).wanted
    assert replace(taken, void=True).confirm(order).wanted


def test_a_disarm_is_confirmed_alike() -> None:
    taken, order = leased(replace(ARMED, wake_at=None))
    assert order.at is None
    done = taken.confirm(order)
    assert (done.wanted, done.armed_at, done.armed_for) == (False, None, None)


def test_a_failed_call_frees_the_right_only_when_it_can_no_longer_reach_nas() -> None:
    taken, order = leased(Arm(wake_at=NOON))
    assert taken.give_up(order, settled=True).lease("a", "u", NOON - HOUR)[1] is not None
    assert taken.give_up(order, settled=False).lease("a", "u", NOON - HOUR)[1] is None
    assert taken.give_up(replace(order, token="u"), settled=True) == taken


def test_a_fire_spends_what_was_confirmed_and_voids_a_call_under_way() -> None:
    spent = ARMED.spend(NOON, NOON)
    assert (spent.wanted, spent.void, spent.named) == (True, False, ())
    taken, order = leased(Arm(wake_at=NOON))
    assert taken.spend(NOON, NOON - HOUR).confirm(order).wanted


def test_a_past_wake_and_a_named_one_are_armed_under_new_keys() -> None:
    assert leased(Arm(wake_at=NOON), NOON)[1].at == NOON + FRESH
    named = replace(ARMED, wake_at=NOON).spend(NOON, NOON - HOUR)
    order = leased(named)[1]
    assert order.at is not None
    assert NOON < order.at < NOON + FRESH


def test_what_it_remembers_of_named_instants_is_bounded_and_forgotten_when_past() -> None:
    arm = Arm(wake_at=NOON)
    for n in range(100):
        arm = arm.spend(NOON + n * HOUR, NOON - HOUR)
    assert len(arm.named) == 16
    assert arm.spend(NOON, NOON + 1000 * HOUR).named == ()


def test_a_wake_beyond_the_horizon_is_armed_on_the_way_there() -> None:
    arm, order = Arm(wake_at=NOON).lease("a", "t", NOON - 48 * HOUR, timedelta(days=1))
    assert order is not None
    assert (order.at, order.wake_at) == (NOON - 24 * HOUR, NOON)
    done = arm.confirm(order)
    assert (done.wanted, done.armed_for, done.armed_at) == (False, NOON, NOON - 24 * HOUR)


def test_what_nas_forgot_is_unknown() -> None:
    assert ARMED.forget().wanted
