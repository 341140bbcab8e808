"""Questions about the ledger: pages of fires, runs and chapters, each found by an index that has its order."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Select, and_, select, tuple_

from hermes_cron.clock import to_micros
from hermes_cron.ledger import Entry, FireState, Place
from hermes_cron.store import rows
from hermes_cron.store.tables import CHAPTERS, FIRES, RUNS

_CHUNK = 300
"""How many fires one statement names at most."""


def fires(job_id: str | None, limit: int, states: Collection[FireState], before: Place | None) -> Select[Any]:
    """The ledger's rows behind a place, newest first; of these states only, if any are given."""
    page = select(FIRES) if job_id is None else select(FIRES).where(FIRES.c.job_id == rows.clean(job_id))
    if before is not None:
        page = page.where(_behind(before, job_id))
    wanted = sorted({state.value for state in states})
    if len(wanted) < 2:
        page = page.where(FIRES.c.state == wanted[0]) if wanted else page
        return _newest(page, FIRES.c, limit)
    # No index has the order of several states at once: each state's page by its own, and then the newest of all.
    each = [select(_newest(page.where(FIRES.c.state == state), FIRES.c, limit).subquery()) for state in wanted]
    both = sa.union_all(*each).subquery()
    return _newest(select(both), both.c, limit)


def fire(job_id: str, key: str) -> Select[Any]:
    """One fire's row."""
    return select(FIRES).where(FIRES.c.job_id == rows.clean(job_id), FIRES.c.key == rows.clean(key))


def runs(job_id: str | None, run_id: str | None, limit: int) -> Select[Any]:
    """Runs' rows, newest first."""
    found = select(RUNS)
    if job_id is not None:
        found = found.where(RUNS.c.job_id == rows.clean(job_id))
    if run_id is not None:
        found = found.where(RUNS.c.id == rows.clean(run_id))
    return found.order_by(RUNS.c.claimed_at.desc(), RUNS.c.fence.desc(), RUNS.c.id).limit(max(0, limit))


def runs_of(entries: Collection[Entry]) -> list[Select[Any]]:
    """Questions for the rows of all runs of these fires."""
    names = iter(sorted({(rows.clean(entry.job_id), rows.clean(entry.key)) for entry in entries if entry.attempts}))
    chunks = iter(lambda: list(islice(names, _CHUNK)), [])
    return [select(RUNS).where(sa.or_(*_keys_by_job(chunk))) for chunk in chunks]


def chapters(job_id: str | None) -> Select[Any]:
    """Chapters' rows, by job and in their order."""
    found = select(CHAPTERS) if job_id is None else select(CHAPTERS).where(CHAPTERS.c.job_id == rows.clean(job_id))
    return found.order_by(CHAPTERS.c.job_id, CHAPTERS.c.id)


def _keys_by_job(names: Collection[tuple[str, str]]) -> list[ColumnElement[bool]]:
    # Not as pairs in a list of pairs: for these SQLite would read the whole table.
    jobs: dict[str, list[str]] = {}
    for job_id, key in names:
        jobs.setdefault(job_id, []).append(key)
    return [and_(RUNS.c.job_id == job_id, RUNS.c.key.in_(keys)) for job_id, keys in jobs.items()]


def _behind(place: Place, job_id: str | None) -> ColumnElement[bool]:
    # Compared as one: an index with these columns in this order is entered at the place itself.
    fire_at, key = to_micros(place.fire_at), rows.clean(place.key)
    if job_id == place.job_id:
        return tuple_(FIRES.c.fire_at, FIRES.c.key) < tuple_(fire_at, key)
    return tuple_(FIRES.c.fire_at, FIRES.c.job_id, FIRES.c.key) < tuple_(fire_at, rows.clean(place.job_id), key)


def _newest(page: Select[Any], columns: Any, limit: int) -> Select[Any]:
    return page.order_by(columns.fire_at.desc(), columns.job_id.desc(), columns.key.desc()).limit(max(0, limit))
