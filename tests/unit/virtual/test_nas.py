"""The NAS of the simulation, held to the contract: one arm an id, deliveries that are tried again and given up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hermes_cron.arm import Order
from hermes_cron.errors import NasError
from hermes_cron.simulation.counting import CountingClient
from hermes_cron.simulation.tally import Tally
from hermes_cron.virtual.client import ModelClient, NoQueue
from hermes_cron.virtual.nas import Alarm, ModelNas
from tests.unit.parts import NOON

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


def order(hours: int | None, job_id: str = "a") -> Order:
    at = None if hours is None else NOON + hours * HOUR
    return Order(job_id, "t", at, at)


def due(nas: ModelNas, hours: float) -> list[Alarm]:
    return nas.to_deliver(NOON + hours * HOUR)


def test_it_holds_one_arm_an_id_and_the_same_key_changes_nothing() -> None:
    nas = ModelNas()
    for hours in (1, 1, 2):
        nas.obey(order(hours))
    nas.obey(order(3, "b"))
    assert nas.listed() == {"a": NOON + 2 * HOUR, "b": NOON + 3 * HOUR}
    assert nas.next_due() == NOON + 2 * HOUR
    nas.obey(order(None))
    nas.obey(order(None, "nobody"))
    assert nas.listed() == {"b": NOON + 3 * HOUR}


def test_a_delivery_is_tried_again_and_then_given_up() -> None:
    nas = ModelNas(retries=(12, 148))
    nas.obey(order(1))
    now, tried = NOON + HOUR, []
    while nas.next_due() is not None:
        now = max(now, nas.next_due() or now)
        tried.append((now - NOON - HOUR).total_seconds())
        kept = nas.failed(nas.to_deliver(now)[0], now)
        assert nas.listed() == {}, "what is being delivered is not listed"
        assert kept == (len(tried) < 3)
    assert tried == [0, 12, 160]


def test_an_arm_made_during_a_delivery_outlives_it() -> None:
    nas = ModelNas()
    nas.obey(order(1))
    alarm = due(nas, 1)[0]
    nas.failed(alarm, alarm.at)
    nas.obey(order(1))
    again = nas.to_deliver(alarm.at + 13 * SECOND)
    assert len(again) == 2, "a provision of its own key is a new arm"
    nas.obey(order(2))
    assert [a.at for a in due(nas, 9)] == [NOON + 2 * HOUR], "an instant that was replaced is not tried again"


def test_one_that_remembers_takes_a_delivered_key_for_used() -> None:
    for remembers, listed in ((True, {}), (False, {"a": NOON + HOUR})):
        nas = ModelNas(remembers=remembers)
        nas.obey(order(1))
        nas.delivered(due(nas, 1)[0], NOON + HOUR)
        nas.obey(order(1))
        assert nas.listed() == listed


def test_with_settlement_it_delivers_again_until_it_is_answered() -> None:
    nas = ModelNas(settle=60)
    nas.obey(order(1))
    nas.delivered(due(nas, 1)[0], NOON + HOUR)
    assert nas.next_due() == NOON + HOUR + 60 * SECOND
    nas.delivered(due(nas, 2)[0], NOON + HOUR + 60 * SECOND)
    assert nas.next_due() == NOON + HOUR + 180 * SECOND
    nas.obey(order(None))
    assert nas.next_due() is None


def test_the_client_calls_the_model_and_counts() -> None:
    nas, tally, up = ModelNas(), Tally(), [True]
    client = CountingClient(nas, lambda: up[0], tally)
    client.do(order(1))
    client.do(order(1, "_wake.1"))
    assert client.armed(0) == {"_wake.1": NOON + HOUR, "a": NOON + HOUR}
    up[0] = False
    with pytest.raises(NasError, match="away"):
        client.do(order(2))
    with pytest.raises(NasError, match="away"):
        client.armed(0)
    assert (tally.arms, tally.rungs, tally.lists) == (1, 1, 1)
    assert ModelClient(nas, horizon=HOUR).capabilities(1).horizon == HOUR


def test_nothing_waits_in_a_queue_that_is_none() -> None:
    assert NoQueue().depth() == 0
