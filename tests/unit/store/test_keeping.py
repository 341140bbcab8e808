"""The last line of defence of I12: what was settled since it was read is not written again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, create_engine

from hermes_cron.errors import StoreError
from hermes_cron.ledger import Entry, FireState
from hermes_cron.record import Record
from hermes_cron.run import Run, RunState
from hermes_cron.store import keeping
from hermes_cron.store.tables import METADATA

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
ENTRY = Entry("a", "k", NOON, FireState.RUNNING)
RUN = Run("a:1", "a", "k", NOON, 1, 1, "app.task", {})


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        METADATA.create_all(connection)
        yield connection
    engine.dispose()


def put(connection: Connection, record: Record) -> None:
    keeping.save(connection, keeping.load(connection, "a"), record, NOON)


def test_i12_a_fire_that_was_settled_meanwhile_is_not_written(connection: Connection) -> None:
    put(connection, Record("a", entries=(ENTRY,)))
    stale = keeping.load(connection, "a")
    put(connection, Record("a", entries=(ENTRY.settle(FireState.SUCCEEDED, "", NOON),)))
    with pytest.raises(StoreError, match="fire 'k' has its outcome already"):
        keeping.save(connection, stale, Record("a", entries=(ENTRY.settle(FireState.FAILED, "", NOON),)), NOON)


def test_i12_a_run_that_was_ended_meanwhile_is_not_written(connection: Connection) -> None:
    put(connection, Record("a", runs=(RUN,)))
    stale = keeping.load(connection, "a")
    put(connection, Record("a", runs=(replace(RUN, state=RunState.ABANDONED, ended_at=NOON),)))
    with pytest.raises(StoreError, match="run 'a:1' has its outcome already"):
        keeping.save(
            connection, stale, Record("a", runs=(replace(RUN, state=RunState.SUCCEEDED, ended_at=NOON),)), NOON
        )


def test_a_step_that_changes_nothing_writes_nothing(connection: Connection) -> None:
    kept = keeping.load(connection, "a")
    keeping.save(connection, kept, kept.record, NOON)
    assert keeping.load(connection, "a").unknown
