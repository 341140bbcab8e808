"""What becomes of an arm: pure decisions at instants that are handed in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_cron.nas.held import PATIENCE, Ask, Held, Result, State, after, provision, retry_wait, settle_wait
from tests.unit.nas.world import NOON, URL

ARMED = Held(1, "job", "s1", NOON, URL, due_at=NOON)
OK = Result(202)
DOWN = Result(None, "nobody answers")
LATER = NOON + timedelta(hours=1)


def asked(held: Held | None, at: object = NOON, *, in_delivery: bool = False, url: str = URL) -> Held:
    ask = Ask("job", at, url)  # type: ignore[arg-type]  # an instant, in each of these tests.
    return provision(held, ask, agent_id=1, in_delivery=in_delivery, schedule_id="s2")


def test_a_first_arm_is_due_at_its_instant() -> None:
    assert asked(None) == Held(1, "job", "s2", NOON, URL, State.ARMED, due_at=NOON)


def test_i10_the_same_key_is_a_no_op() -> None:
    assert asked(ARMED) == ARMED


def test_the_same_key_from_a_new_address_keeps_its_id() -> None:
    assert asked(ARMED, url="https://moved.example.org") == replace(ARMED, callback_url="https://moved.example.org")


def test_a_new_instant_replaces() -> None:
    assert asked(ARMED, LATER) == Held(1, "job", "s2", LATER, URL, due_at=LATER)


@pytest.mark.parametrize("state", [State.TRYING, State.UNSETTLED, State.DEAD])
def test_the_same_key_after_a_delivery_began_is_a_new_arm(state: State) -> None:
    old = replace(ARMED, state=state, failures=3, deliveries=1, since=NOON, reason="x")
    assert asked(old) == Held(1, "job", "s2", NOON, URL, due_at=NOON)


def test_the_same_key_during_a_delivery_is_a_new_arm() -> None:
    assert asked(ARMED, in_delivery=True).schedule_id == "s2"


def test_a_delivered_fire_is_unsettled_and_comes_again() -> None:
    once = after(ARMED, OK, NOON, settle=60, chance=0)
    assert once == replace(
        ARMED, state=State.UNSETTLED, since=NOON, deliveries=1, due_at=NOON + timedelta(seconds=60)
    )  # fmt: skip
    twice = after(once, OK, LATER, settle=60, chance=0)
    assert twice is not None
    assert (twice.since, twice.deliveries, twice.due_at) == (NOON, 2, LATER + timedelta(seconds=120))


def test_without_settlement_a_delivered_row_goes() -> None:
    assert after(ARMED, OK, NOON, settle=0, chance=0) is None


def test_a_failed_redelivery_stays_unsettled() -> None:
    once = after(ARMED, OK, NOON, settle=60, chance=0)
    assert once is not None
    failed = after(once, DOWN, LATER, settle=60, chance=1)
    assert failed is not None
    assert (failed.state, failed.failures, failed.since) == (State.UNSETTLED, 1, NOON)
    assert failed.due_at == LATER + timedelta(seconds=0.25)
    again = after(failed, OK, LATER, settle=60, chance=0)
    assert again is not None
    assert (again.deliveries, again.failures, again.reason) == (2, 0, "")


def test_a_fire_that_is_never_answered_is_buried_in_the_end() -> None:
    held = after(ARMED, OK, NOON, settle=60, chance=0)
    deliveries = 1
    while held is not None and held.state is not State.DEAD:
        assert held.due_at is not None
        held = after(held, OK, held.due_at, settle=60, chance=0)
        deliveries += 1
    assert held is not None
    assert "never answered" in held.reason
    assert held.due_at is None
    assert 20 < deliveries < 60


@pytest.mark.parametrize("status", [400, 405, 413, 415])
def test_what_can_never_pass_is_buried_at_once(status: int) -> None:
    dead = after(ARMED, Result(status, "no"), NOON, settle=60, chance=0)
    assert dead == replace(ARMED, state=State.DEAD, due_at=None, reason="no")


@pytest.mark.parametrize("status", [None, 100, 301, 401, 403, 404, 408, 410, 429, 500, 503])
def test_all_else_is_tried_for_seven_days_from_the_first_attempt(status: int | None) -> None:
    first = NOON + timedelta(days=30)  # It was NAS that was down for a month.
    held: Held | None = ARMED
    now, attempts = first, 0
    while held is not None and held.state is not State.DEAD:
        held = after(held, Result(status, "no"), now, settle=60, chance=0.5)
        attempts += 1
        assert held is not None
        now = held.due_at or now
    assert now - first >= PATIENCE
    assert 1000 < attempts < 3000
    assert held is not None
    assert held.reason == "no"


def test_the_first_retries_are_quick() -> None:
    assert sum(retry_wait(n, None, 1.0) for n in range(1, 5)) < 4
    waits = [retry_wait(n, None, 1.0) for n in range(1, 40)]
    assert all(early <= late for early, late in pairwise(waits))
    assert waits[-1] == 600


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e9), st.floats(0, 1))
def test_a_wait_is_never_shorter_than_asked_for_nor_absurd(
    failures: int, retry_after: float | None, chance: float
) -> None:  # fmt: skip
    wait = retry_wait(failures, retry_after, chance)
    assert 0.125 <= wait <= 3961
    if retry_after is not None:
        assert wait >= min(retry_after, 3600)


def test_an_agent_that_says_when_to_come_back_is_not_left_for_ten_minutes() -> None:
    assert retry_wait(100, None, 1.0) == 600
    assert retry_wait(100, 1.0, 1.0) == 30


@given(st.integers(1, 10_000), st.floats(0.001, 1e6), st.floats(0, 1))
def test_a_fire_never_comes_again_before_its_settle_time(deliveries: int, settle: float, chance: float) -> None:
    assert settle <= settle_wait(deliveries, settle, chance) <= 1.1 * max(settle, 6 * 3600) + 1e-6
