"""Trims a SQL ledger by the rule of `rules.trim`, step by step: looks first, and writes only where there is need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, select

from hermes_cron.clock import from_micros, to_micros
from hermes_cron.ledger import DEAD_LETTER, OPEN, FireState, Keep
from hermes_cron.store.tables import CHAPTERS, FIRES, JOBS, OUTPUTS, RUNS, TRIMS, TURNS, is_true

JOBS_A_STEP = 50
"""How many jobs one step looks at, most often in vain."""

_DEAD = tuple(sorted(DEAD_LETTER))
_OTHERS = tuple(sorted(set(FireState) - DEAD_LETTER - OPEN))
_TURN = "trim"
_LAST = func.coalesce(FIRES.c.last_at, FIRES.c.fire_at)

# Both databases know these words; SQLAlchemy has them for each apart, and to name one would load the other's dialect.
_SET_TURN = sa.text(
    "INSERT INTO turns (name, at) VALUES (:name, :at) ON CONFLICT (name) DO UPDATE SET at = excluded.at"
)
_SET_TRIM = sa.text(
    "INSERT INTO trims (job_id, until) VALUES (:job_id, :until) ON CONFLICT (job_id) DO UPDATE "
    "SET until = CASE WHEN excluded.until > trims.until THEN excluded.until ELSE trims.until END"
)


@dataclass(frozen=True, slots=True)
class Cut:
    """What one step takes of one job: fires by their keys, and with them the ledger until then, in microseconds."""

    job_id: str
    keys: Sequence[str]
    until: int | None
    gone: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What one step does, and at which job the turn is left; None where it stays where it is."""

    cuts: Sequence[Cut]
    turn: str | None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to write."""
        return not self.cuts and self.turn is None


def plan(connection: Connection, now: datetime, keep: Keep, limit: int) -> Plan:
    """Find what the next step is to take; changes nothing."""
    turn = connection.execute(select(TURNS.c.at).where(TURNS.c.name == _TURN)).scalar() or ""
    cuts, left, at = list[Cut](), limit, turn
    for job_id in _jobs_after(connection, turn):
        cut = _cut(connection, job_id, to_micros(now - keep.span), keep, left) if job_id else None
        if cut is not None:
            cuts.append(cut)
            left -= len(cut.keys)
        if left <= 0:
            break
        at = job_id
    return Plan(cuts, at if at != turn else None)


def take(connection: Connection, found: Plan, now: datetime, keep: Keep, limit: int) -> int:
    """Do what was planned, in the caller's transaction; how many fires went, but for those that somebody else took."""
    went = sum(_take(connection, cut, to_micros(now - keep.span), limit) for cut in found.cuts)
    if found.turn is not None:
        connection.execute(_SET_TURN, {"name": _TURN, "at": found.turn})
    return went


def trims(connection: Connection) -> dict[str, datetime]:
    """Up to which instant each job's ledger was trimmed."""
    return {job_id: from_micros(until) for job_id, until in connection.execute(select(TRIMS.c.job_id, TRIMS.c.until))}


def _jobs_after(connection: Connection, job_id: str) -> Iterator[str]:
    """The ids of the jobs whose turn it is, and an empty one where the round is over."""
    # Every job that ever was has a chapter; from one to the next the index leads, past all chapters between.
    for _ in range(JOBS_A_STEP):
        found = connection.execute(select(func.min(CHAPTERS.c.job_id)).where(CHAPTERS.c.job_id > job_id)).scalar()
        job_id = found or ""
        yield job_id
        if not job_id:
            return


def _cut(connection: Connection, job_id: str, horizon: int, keep: Keep, limit: int) -> Cut | None:
    oldest = connection.execute(select(func.min(FIRES.c.fire_at)).where(FIRES.c.job_id == job_id)).scalar()
    if oldest is not None and oldest >= horizon:
        return None
    gone = connection.execute(select(JOBS.c.id).where(JOBS.c.id == job_id)).scalar() is None
    if oldest is None:
        return Cut(job_id, (), None, gone) if gone and _long_ago(connection, job_id, horizon) else None
    rows: list[tuple[int, str, int]] = []
    for states, beside, most in ((_OTHERS, (), keep.fires), (_DEAD, _DEAD, keep.dead)):
        old = [row for state in states for row in connection.execute(_old(job_id, state, horizon, limit))]
        if old and not gone:
            # Beside so many that are newer nothing need stay; where there are fewer, all does.
            newest = connection.execute(_newest(job_id, beside, most)).scalar()
            old = [row for row in old if newest is not None and row[0] < newest]
        rows += [tuple(row) for row in old]
    rows = sorted(rows)[:limit]
    return Cut(job_id, [key for _, key, _ in rows], max(last for _, _, last in rows), gone) if rows else None


def _old(job_id: str, state: FireState, horizon: int, limit: int) -> Select[Any]:
    fires = select(FIRES.c.fire_at, FIRES.c.key, _LAST)
    own = and_(FIRES.c.job_id == job_id, FIRES.c.state == state.value, FIRES.c.fire_at < horizon)
    return fires.where(own, FIRES.c.settled_at < horizon).order_by(FIRES.c.fire_at, FIRES.c.key).limit(limit)


def _newest(job_id: str, states: Sequence[FireState], number: int) -> Select[Any]:
    """When the job's fire of this number was due, counted from the newest; of these states only, if any are given."""

    def page(*where: ColumnElement[bool]) -> Select[Any]:
        fires = select(FIRES.c.fire_at).where(FIRES.c.job_id == job_id, *where)
        return fires.order_by(FIRES.c.fire_at.desc())

    if not states:
        return page().offset(number - 1).limit(1)
    each = [select(page(FIRES.c.state == state.value).limit(number).subquery()) for state in states]
    both = sa.union_all(*each).subquery()
    return select(both.c.fire_at).order_by(both.c.fire_at.desc()).offset(number - 1).limit(1)


def _over(job_id: str) -> Select[Any]:
    """The job's chapters that tell of nothing after it was trimmed: all before the last that began by then."""
    until = select(TRIMS.c.until).where(TRIMS.c.job_id == job_id).scalar_subquery()
    last = select(func.max(CHAPTERS.c.id)).where(CHAPTERS.c.job_id == job_id, CHAPTERS.c.at <= until).scalar_subquery()
    return select(CHAPTERS.c.id).where(CHAPTERS.c.job_id == job_id, CHAPTERS.c.id < last).order_by(CHAPTERS.c.id)


def _long_ago(connection: Connection, job_id: str, horizon: int) -> bool:
    last = connection.execute(select(func.max(CHAPTERS.c.at)).where(CHAPTERS.c.job_id == job_id)).scalar()
    return last is not None and last < horizon


def _take(connection: Connection, cut: Cut, horizon: int, limit: int) -> int:
    went = 0
    if cut.keys:
        own = and_(RUNS.c.job_id == cut.job_id, RUNS.c.key.in_(cut.keys))
        connection.execute(OUTPUTS.delete().where(OUTPUTS.c.run_id.in_(select(RUNS.c.id).where(own))))
        connection.execute(RUNS.delete().where(own))
        fires = and_(FIRES.c.job_id == cut.job_id, FIRES.c.key.in_(cut.keys), sa.not_(is_true(FIRES.c.open)))
        went = connection.execute(FIRES.delete().where(fires)).rowcount
        connection.execute(_SET_TRIM, {"job_id": cut.job_id, "until": cut.until})
    connection.execute(CHAPTERS.delete().where(CHAPTERS.c.id.in_(_over(cut.job_id).limit(2 * limit))))
    if cut.gone:
        _forget(connection, cut.job_id, horizon)
    return went


def _forget(connection: Connection, job_id: str, horizon: int) -> None:
    """Forget a job that is gone, once nothing of it is in the ledger and its removal is long ago."""
    there = [exists().where(JOBS.c.id == job_id), exists().where(FIRES.c.job_id == job_id)]
    lately = exists(select(CHAPTERS.c.id).where(CHAPTERS.c.job_id == job_id, CHAPTERS.c.at >= horizon))
    if not connection.execute(select(sa.or_(*there, lately))).scalar():
        connection.execute(CHAPTERS.delete().where(CHAPTERS.c.job_id == job_id, CHAPTERS.c.at < horizon))
        connection.execute(TRIMS.delete().where(TRIMS.c.job_id == job_id))
