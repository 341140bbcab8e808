"""The store in memory promises what every store does: the conformance suite's tests, but for those of a server."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hermes_cron.arm import Arm
from hermes_cron.clock import utc_now
from hermes_cron.ledger import FireState
from hermes_cron.record import Record
from hermes_cron.virtual.memory import MemoryStore
from tests.conformance.test_store import (  # noqa: F401 - collected here, with the store of this module.
    test_i12_an_outcome_once_written_never_changes,
    test_i12_it_tells_what_was_due_when_also_of_a_job_that_is_gone,
    test_it_answers_what_is_overdue_wanted_and_due,
    test_it_deletes_a_blank_record_and_keeps_its_ledger,
    test_it_hands_the_step_what_is_kept_and_its_own_time,
    test_it_keeps_a_sentinel_without_a_job,
    test_it_knows_nothing_of_an_id_that_was_never_kept,
    test_it_lets_out_what_a_step_raises_and_writes_nothing,
    test_it_lists_the_ledger_newest_first,
    test_what_is_settled_is_in_the_ledger_and_no_longer_in_the_record,
    test_while_stopped_only_disarms_are_wanted_and_nothing_is_due,
)
from tests.conformance.test_store_storms import test_two_threads_lose_nothing  # noqa: F401 - as above.
from tests.unit.parts import NOON, FakeClock
from tests.unit.simulation.parts import entry_of, put, run_of


class Here:
    """Where a store is that two cannot open."""

    def open(self, deadline: float) -> MemoryStore:
        return MemoryStore(utc_now)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(utc_now)


@pytest.fixture
def place() -> Here:
    return Here()


def test_it_tells_when_something_is_overdue_next() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    assert store.next_reason() is None
    put(store, Record("a", arm=Arm(wake_at=NOON + timedelta(hours=1))))
    put(store, Record("_wake.1", arm=Arm(wake_at=NOON + timedelta(minutes=1))))
    put(store, Record("b", runs=(run_of("b", lease_until=NOON + timedelta(minutes=2)),)))
    assert store.next_reason() == NOON + timedelta(minutes=2)
    clock.advance(120)
    assert (store.overdue(9), store.next_reason()) == (["b"], NOON + timedelta(hours=1))
    store.set_stopped(True)
    assert store.next_reason() is None


def test_what_is_handed_over_is_kept_no_longer() -> None:
    store = MemoryStore(FakeClock())
    settled = entry_of("a", state=FireState.MISSED)
    put(store, Record("a", entries=(settled, entry_of("a", key="open"))))
    assert store.hand_over() == ([settled], [])
    assert store.hand_over() == ([], [])
    assert [entry.key for entry in store.fires()] == ["open"]
