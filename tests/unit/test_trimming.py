"""The trimmer: after fires, never before one that is to run; bounded, and harmless where the store fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from hermes_cron.errors import StoreError
from hermes_cron.job import Job
from hermes_cron.ledger import Entry, FireState, Keep
from hermes_cron.record import Record
from hermes_cron.schedule import Schedule
from hermes_cron.trimming import FIRES_A_STEP, Trimmer
from hermes_cron.virtual.memory import MemoryStore
from tests.unit.parts import NOON, FakeClock, until

KEEP = Keep(fires=1, span=timedelta(days=1))


class Told(MemoryStore):
    """A store that remembers what trimming was asked of it, and fails as often as it is told."""

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.steps: list[int] = []
        self.faults: list[Exception] = []

    def trim(self, keep: Keep, limit: int = 500) -> int:
        assert threading.current_thread().name == "hermes-cron-trimmer"
        if self.faults:
            self.steps.append(-1)
            raise self.faults.pop()
        self.steps.append(super().trim(keep, limit))
        return self.steps[-1]


def filled(fires: int) -> Told:
    """The ledger of a job that is gone."""
    store = Told()
    old = [
        Entry("a", str(n), NOON - timedelta(days=9, seconds=n), FireState.MISSED, settled_at=NOON - timedelta(days=9))
        for n in range(fires)
    ]
    job = Job("a", "task", Schedule("cron", "0 * * * *"))
    store.change("a", lambda record, moment: (Record("a", job, entries=tuple(old)), None))
    store.change("a", lambda record, moment: (Record("a"), None))
    return store


@contextmanager
def trimming(store: Told, keep: Keep = KEEP, busy: list[int] | None = None, pause: float = 0.0) -> Iterator[Trimmer]:
    trimmer = Trimmer(store, keep, lambda: len(busy or ()), pause=pause)
    trimmer.start()
    try:
        yield trimmer
    finally:
        trimmer.stop()


def test_it_trims_only_after_a_fire_was_seen_through() -> None:
    store = filled(5)
    with trimming(store) as trimmer:
        assert store.steps == []
        trimmer.note()
        assert until(lambda: store.steps == [5])
    assert store.fires() == []


def test_it_takes_a_step_after_the_other_as_long_as_they_are_full() -> None:
    store = filled(2 * FIRES_A_STEP + 1)
    with trimming(store) as trimmer:
        trimmer.note()
        assert until(lambda: store.steps == [FIRES_A_STEP, FIRES_A_STEP, 1])


def test_it_waits_until_nothing_runs() -> None:
    store, busy = filled(5), [1]
    with trimming(store, busy=busy, pause=600.0) as trimmer:
        trimmer.note()
        assert not until(lambda: store.steps != [], 0.5)
        busy.clear()
        assert until(lambda: store.steps == [5])
        trimmer.note()
        assert not until(lambda: len(store.steps) > 1, 0.5), "the pause between two steps is not over"


def test_where_something_always_runs_it_trims_all_the_same() -> None:
    store = filled(5)
    with trimming(store, busy=[1], pause=0.2) as trimmer:
        trimmer.note()
        assert until(lambda: store.steps == [5])


@pytest.mark.parametrize("error", [StoreError("gone"), ValueError("what")])
def test_what_fails_is_logged_and_tried_again_after_the_next_fire(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(5)
    store.faults.append(error)
    with caplog.at_level(logging.WARNING), trimming(store) as trimmer:
        trimmer.note()
        assert until(lambda: store.steps == [-1])
        trimmer.note()
        assert until(lambda: store.steps == [-1, 5])
    assert "could not be trimmed" in caplog.text


def test_it_begins_nothing_where_all_is_kept_for_ever() -> None:
    store = filled(5)
    with trimming(store, Keep(fires=0)) as trimmer:
        trimmer.note()
        assert not trimmer._thread.is_alive()
    assert len(store.fires()) == 5


def test_it_stops_at_once_while_it_waits_for_what_runs() -> None:
    store = filled(5)
    with trimming(store, busy=[1], pause=600.0) as trimmer:
        trimmer.note()
    assert not trimmer._thread.is_alive()
    assert store.steps == []
