"""Every question about the ledger enters an index at its place: what it costs does not grow with what is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select
from sqlalchemy.dialects import sqlite

from hermes_cron.ledger import DEAD_LETTER, Entry, FireState, Place
from hermes_cron.store import open_store, pages

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
BEHIND = Place(NOON, "a", "k")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_store(f"sqlite:///{tmp_path}/a.db")) as store:
        store.stopped()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        yield connection


def plan_of(database: sqlite3.Connection, question: Select[Any]) -> list[str]:
    compiled = question.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    return [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {compiled}")]


@pytest.mark.parametrize("before", [None, BEHIND])
@pytest.mark.parametrize("states", [(), (FireState.FAILED,)])
@pytest.mark.parametrize("job_id", [None, "a"])
def test_a_page_of_fires_is_read_in_its_order(
    database: sqlite3.Connection, job_id: str | None, states: tuple[FireState, ...], before: Place | None
) -> None:
    (step,) = plan_of(database, pages.fires(job_id, 50, states, before))
    assert "USING INDEX fires_by_" in step
    if before is not None:
        assert "SEARCH" in step
        assert "<(?,?" in step, "the index is entered at the place, not at the instant only"


@pytest.mark.parametrize("job_id", [None, "a"])
def test_a_page_of_several_states_sorts_no_more_than_a_page_of_each(
    database: sqlite3.Connection, job_id: str | None
) -> None:
    plan = plan_of(database, pages.fires(job_id, 50, DEAD_LETTER, BEHIND))
    assert len([step for step in plan if step.startswith("SEARCH fires USING INDEX") and "<(?,?" in step]) == 2
    assert not [step for step in plan if step.startswith("SCAN fires")]


def test_the_runs_of_fires_are_found_by_their_keys(database: sqlite3.Connection) -> None:
    fires = [Entry(job, f"k{n}", NOON, FireState.FAILED, attempts=1) for job in "abc" for n in range(150)]
    for question in pages.runs_of(fires):
        plan = plan_of(database, question)
        assert [step for step in plan if "runs_by_fire (job_id=? AND key=?)" in step]
        assert not [step for step in plan if "SCAN" in step]


def test_one_fire_is_found_by_its_key(database: sqlite3.Connection) -> None:
    (step,) = plan_of(database, pages.fire("a", "k"))
    assert step.startswith("SEARCH fires")
