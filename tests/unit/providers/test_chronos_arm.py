"""How one id is armed: the call, what it says, and what becomes of it."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from functools import partial

import pytest

from hermes_cron.clock import instant_text, read_instant
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.providers.chronos.scheduler import ChronosCronScheduler
from hermes_cron.rules import arms, change
from hermes_cron.rules.claim import Claimer, claim
from tests.unit.parts import ends_within
from tests.unit.providers.conftest import Make, add
from tests.unit.providers.nas import Call, Drop, Nas, instants, until

CLAIMER = Claimer("w", timedelta(seconds=30))


def arm_of(store: Store, job_id: str):
    record = store.read(job_id)
    assert record is not None
    return record.arm


def test_it_provisions_the_next_fire_to_the_second(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    fire_at = add(store, "a", "+90s").next_fire_at
    assert fire_at is not None
    assert chronos.arm("a", 30)
    text = instant_text(fire_at)
    assert nas.provisions() == [
        {"job_id": "a", "fire_at": text, "agent_callback_url": "https://agent.example", "dedup_key": f"a:{text}"}
    ]
    assert text.endswith("+00:00")
    arm = arm_of(store, "a")
    assert (arm.known, arm.armed_at, arm.armed_for, arm.owner) == (True, fire_at, fire_at, None)


def test_it_provisions_nothing_for_a_job_without_a_next_fire(
    nas: Nas, store: Store, chronos: ChronosCronScheduler
) -> None:
    add(store, "a")
    store.change("a", change.pause)
    assert chronos.arm("a", 30)
    assert nas.provisions() == []


def test_i10_arming_twice_is_one_call(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    add(store, "a")
    assert chronos.arm("a", 30)
    assert chronos.arm("a", 30)
    assert len(nas.provisions()) == 1


def test_it_answers_a_fire_of_an_unknown_id_with_a_cancel(
    nas: Nas, store: Store, chronos: ChronosCronScheduler
) -> None:
    nas.armed["ghost"] = "2030-01-01T00:00:00Z"
    assert chronos.arm("ghost", 30)
    assert nas.armed == {}
    assert store.read("ghost") is None


def test_it_answers_a_spent_sentinel_with_a_cancel(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    assert chronos.arm("_wake.1", 30)
    assert [call.body for call in nas.counted("cancel")] == [{"job_id": "_wake.1"}]


def test_it_arms_a_past_wake_as_a_fresh_instant(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    add(store, "a")
    store.change("a", partial(change.run_now, uuid="u"))
    before = store.now()
    assert chronos.arm("a", 30)
    assert before < instants(nas)["a"] <= store.now() + timedelta(seconds=1)


def test_it_arms_an_instant_that_fired_under_a_new_key(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    wake = add(store, "a").next_fire_at
    chronos.arm("a", 30)
    store.change("a", partial(claim, fire=Fire("a", wake), claimer=CLAIMER))
    assert chronos.arm("a", 30)
    keys = [item["dedup_key"] for item in nas.provisions()]
    assert len(set(keys)) == 2


def test_it_sets_a_waypoint_beyond_the_horizon_of_nas(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    nas.capabilities = {"max_horizon_s": 3600}
    wake = add(store, "a", "every 1d").next_fire_at
    assert chronos.arm("a", 30)
    ahead = instants(nas)["a"] - store.now()
    assert timedelta(seconds=3500) < ahead <= timedelta(seconds=3600)
    assert arm_of(store, "a").armed_for == wake


def test_i11_a_dropped_call_leaves_the_arm_wanted_and_the_right_taken(
    nas: Nas, store: Store, chronos: ChronosCronScheduler
) -> None:
    def drop(call: Call) -> None:
        if "provision" in call.path:
            raise Drop

    nas.misbehave = drop
    add(store, "a")
    assert not chronos.arm("a", 30)
    arm = arm_of(store, "a")
    assert arm.wanted
    assert arm.owner is not None
    nas.misbehave = None
    # Nobody may call about it now: the call that was dropped may yet arrive.
    assert not chronos.arm("a", 0.2)
    assert nas.armed == {}


def test_it_gives_the_right_back_where_nas_answered(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    nas.misbehave = lambda call: (500, {}, {}) if "provision" in call.path else None
    add(store, "a")
    assert not chronos.arm("a", 30)
    assert arm_of(store, "a").owner is None
    nas.misbehave = None
    assert chronos.arm("a", 30)


def test_it_takes_a_2xx_that_cannot_be_read_for_success(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    nas.late = lambda call: (200, b"\xff<html>", {}) if "provision" in call.path else None
    add(store, "a")
    assert chronos.arm("a", 30)


def test_it_waits_for_who_has_the_right(nas: Nas, store: Store, make: Make) -> None:
    gate = threading.Event()

    def slow(call: Call) -> None:
        if "provision" in call.path and len(nas.provisions()) == 1:
            gate.wait(60)

    nas.misbehave = slow
    add(store, "a")
    first, second = make(), make()
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda s=s: answers.append(s.arm("a", 30))) for s in (first, second)]
    threads[0].start()
    assert until(lambda: bool(nas.provisions()))
    threads[1].start()
    gate.set()
    for thread in threads:
        thread.join()
    assert answers == [True, True]
    assert len(nas.provisions()) == 1


def test_it_goes_again_when_the_job_changed_during_the_call(
    nas: Nas, store: Store, chronos: ChronosCronScheduler
) -> None:
    job = add(store, "a")

    def edit(call: Call) -> None:
        if "provision" in call.path and len(nas.provisions()) == 1:
            store.change("a", change.pause)

    nas.misbehave = edit
    assert job.next_fire_at
    assert chronos.arm("a", 30)
    assert nas.armed == {}
    assert not arm_of(store, "a").wanted


def test_i11_a_call_that_outlived_its_right_makes_the_arm_unknown(
    nas: Nas, store: Store, chronos: ChronosCronScheduler
) -> None:
    add(store, "a")

    def overtaken(call: Call) -> None:
        # As if this process had been frozen until its right lapsed, and another had armed meanwhile.
        if "provision" in call.path and len(nas.provisions()) == 1:
            order = store.change("a", lambda r, m: arms.lease(r, type(m)(m.now + timedelta(minutes=1)), token="other"))
            store.change("a", partial(arms.confirm, order=order))

    nas.misbehave = overtaken
    assert chronos.arm("a", 30)
    assert len(nas.provisions()) == 2
    assert instants(nas)["a"] == arm_of(store, "a").armed_at


@pytest.mark.parametrize(("status", "error"), [(403, "invalid_client"), (400, "bad_callback")])
def test_it_keeps_what_nas_refuses_wanted_with_the_reason(
    nas: Nas, store: Store, chronos: ChronosCronScheduler, status: int, error: str
) -> None:
    nas.misbehave = lambda call: (status, {"error": error}, {}) if "provision" in call.path else None
    add(store, "a")
    assert not chronos.arm("a", 30)
    assert arm_of(store, "a").refused == error
    assert arm_of(store, "a").owner is None
    nas.misbehave = None
    chronos._client.standing.forgive()
    assert chronos.arm("a", 30)
    assert arm_of(store, "a").refused is None


def test_it_calls_no_more_once_the_credential_is_refused(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    nas.misbehave = lambda call: (403, {"error": "invalid_client"}, {}) if "provision" in call.path else None
    for name in "abc":
        add(store, name)
        assert not chronos.arm(name, 30)
        assert arm_of(store, name).refused == "invalid_client"
    assert len(nas.provisions()) == 1


def test_it_makes_no_call_while_nas_asked_it_to_wait(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    nas.misbehave = lambda call: (429, {}, {"Retry-After": "3"}) if "provision" in call.path else None
    add(store, "a")
    began = time.monotonic()
    assert not chronos.arm("a", 30)
    nas.misbehave = None
    assert until(lambda: chronos.arm("a", 1))
    assert time.monotonic() - began >= 3
    assert len(nas.provisions()) == 2


def test_it_ends_within_its_time_when_nas_hangs(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    over = threading.Event()
    nas.misbehave = lambda call: over.wait(60) and None
    names = iter("abcde")

    def arm() -> None:
        name = next(names)
        add(store, name)
        assert not chronos.arm(name, 0.5)

    # A call by itself may take three seconds.
    assert ends_within(2, arm)
    over.set()


def test_it_answers_with_a_cancel_while_everything_is_stopped(
    nas: Nas, store: Store, chronos: ChronosCronScheduler
) -> None:
    wake = add(store, "a").next_fire_at
    assert chronos.arm("a", 30)
    store.set_stopped(True)
    store.change("a", partial(claim, fire=Fire("a", wake), claimer=CLAIMER))
    assert chronos.arm("a", 30)
    assert nas.armed == {}
    store.set_stopped(False)
    chronos.reconcile()
    assert read_instant(nas.armed["a"]) == arm_of(store, "a").armed_at
