"""`Run` and the sign that asks its body to stop."""

from __future__ import annotations

import threading

import pytest

from hermes_cron.run import OPEN, Run, RunState, StopSign
from tests.unit.parts import NOON


def test_the_first_reason_stands() -> None:
    sign = StopSign()
    assert (sign.up(), sign.reason, sign.hand_back) == (False, "", False)
    sign.put_up("cancelled by a person")
    sign.put_up("its worker drains", hand_back=True)
    assert (sign.up(), sign.reason, sign.hand_back) == (True, "cancelled by a person", False)


def test_one_of_many_at_once_stands_whole() -> None:
    for _ in range(50):
        sign, ready = StopSign(), threading.Barrier(4)

        def put_up(number: int, sign: StopSign = sign, ready: threading.Barrier = ready) -> None:
            ready.wait(60)
            sign.put_up(str(number), hand_back=number % 2 == 1)

        threads = [threading.Thread(target=put_up, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sign.hand_back == (int(sign.reason) % 2 == 1)


def test_remembers_that_it_was_heard_only_when_it_was_up() -> None:
    sign = StopSign()
    assert not sign.hear()
    assert not sign.heard
    sign.put_up("stop")
    assert not sign.heard
    assert sign.hear()
    assert sign.heard


@pytest.mark.parametrize("state", RunState)
def test_is_open_while_claimed_or_started(state: RunState) -> None:
    run = Run("a:1", "a", "k", NOON, 1, 1, "t", {}, state=state)
    assert run.open == (state in OPEN) == (state in (RunState.CLAIMED, RunState.STARTED))


def test_is_not_cancelled_where_nobody_can_ask() -> None:
    run = Run("a:1", "a", "k", NOON, 1, 1, "t", {})
    assert not run.cancelled()
    assert Run("a:1", "a", "k", NOON, 1, 1, "t", {}, stop_asked=lambda: True) == run
