"""Questions over all jobs: what is overdue, wanted, running and due. Each is one statement that indexes answer."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, and_, func, select

from hermes_cron.arm import Arm
from hermes_cron.clock import from_micros
from hermes_cron.contract import SENTINEL_PREFIX
from hermes_cron.errors import StoreError
from hermes_cron.interfaces import Load
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import Entry, FireState
from hermes_cron.record import Moment, Record
from hermes_cron.run import Run
from hermes_cron.store import rows
from hermes_cron.store.tables import ARMS, FIRES, JOBS, META, RUNS, is_true

T = TypeVar("T")
Clock = ColumnElement[int]
"""The store's time in a statement, in microseconds."""

_log = logging.getLogger("hermes_cron.store")
_MICROS = 1_000_000
_FAR = 2**62


def stopped_flag() -> ScalarSelect[Any]:
    """Whether everything is stopped: 0 or 1."""
    return select(META.c.value).where(META.c.name == "stopped").scalar_subquery()


def moment(connection: Connection, clock: Clock) -> Moment:
    """The store's time, and whether everything is stopped.

    Raises:
        StoreError: The store has lost the flag.
    """
    now, stopped = connection.execute(select(clock, stopped_flag())).one()
    if stopped is None:
        raise StoreError("The store has lost its flag of a global stop.", hint="Restore a backup of it.")
    return Moment(from_micros(now), bool(stopped))


def overdue(clock: Clock, limit: int) -> Select[Any]:
    """Ids of jobs whose wake has come, or one of whose open runs has a dead lease, oldest first; none while stopped."""
    woken = select(ARMS.c.job_id, ARMS.c.wake_at.label("at")).where(ARMS.c.wake_at <= clock, sa.not_(_sentinel()))
    dead = select(RUNS.c.job_id, func.coalesce(RUNS.c.lease_until, 0).label("at")).where(_dead(clock))
    both = sa.union_all(woken, dead).subquery()
    oldest = select(both.c.job_id).where(stopped_flag() == 0).group_by(both.c.job_id)
    return oldest.order_by(func.min(both.c.at), both.c.job_id).limit(max(0, limit))


def wanted(limit: int) -> Select[Any]:
    """Ids whose arm is wanted, the earliest wake first and disarms last; while stopped disarms only."""
    ids = select(ARMS.c.job_id).where(_wanted())
    return ids.order_by(func.coalesce(ARMS.c.wake_at, _FAR), ARMS.c.job_id).limit(max(0, limit))


def next_wake() -> Select[Any]:
    """The earliest wake of any job; none while stopped."""
    wakes = select(ARMS.c.wake_at).where(ARMS.c.wake_at.is_not(None), sa.not_(_sentinel()), stopped_flag() == 0)
    return wakes.order_by(ARMS.c.wake_at).limit(1)


def load(connection: Connection, clock: Clock, within: float) -> Load:
    """What is running, waiting, wanted, and due within so many seconds, in one statement.

    While everything is stopped nobody may take a run over or start what waits, so neither counts as work.
    """
    until = clock + sa.literal(round(within * _MICROS))
    lives, waits = is_true(RUNS.c.open), and_(is_true(FIRES.c.open), FIRES.c.state == FireState.WAITING.value)
    scheduled = and_(JOBS.c.state == JobState.SCHEDULED.value, JOBS.c.next_fire_at <= until)
    due = _count(JOBS.c.id, scheduled) + _count(FIRES.c.key, and_(waits, FIRES.c.not_before <= until))
    numbers = select(
        _count(RUNS.c.id, and_(lives, RUNS.c.lease_until > clock)).label("open_runs"),
        _unless_stopped(_count(RUNS.c.id, _dead(clock))).label("dead_leases"),
        _unless_stopped(_count(FIRES.c.key, and_(waits, FIRES.c.not_before.is_(sa.null())))).label("waiting"),
        _unless_stopped(due).label("due"),
        _count(ARMS.c.job_id, _wanted()).label("wanted_arms"),
    )
    return Load(**{name: int(number) for name, number in connection.execute(numbers).mappings().one().items()})


def jobs(connection: Connection) -> list[Record]:
    """All jobs that are not removed, by id. One that cannot be read is logged and left out, and harms no other."""
    found = _jobs(connection, select(JOBS).where(JOBS.c.state != JobState.REMOVED.value))
    arms = _arms(connection)
    return _records(connection, {job_id: (job, arms.get(job_id, Arm())) for job_id, job in found.items()})


def arms(connection: Connection) -> list[Record]:
    """All ids that have an arm, by id. A job that cannot be read is logged, and shows its arm only."""
    found = _jobs(connection, select(JOBS))
    return _records(connection, {job_id: (found.get(job_id), arm) for job_id, arm in _arms(connection).items()})


def _jobs(connection: Connection, question: Select[Any]) -> dict[str, Job]:
    return {job.id: job for row in connection.execute(question).mappings() if (job := _readable(rows.job_from, row))}


def _arms(connection: Connection) -> dict[str, Arm]:
    # An arm that cannot be read is unknown, and so wanted: never taken for one that is confirmed.
    unknown = Arm(known=False)
    found = connection.execute(select(ARMS)).mappings()
    return {row["job_id"]: _readable(rows.arm_from, row) or unknown for row in found}


def _records(connection: Connection, heads: dict[str, tuple[Job | None, Arm]]) -> list[Record]:
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    entries: defaultdict[str, list[Entry]] = defaultdict(list)
    open_runs = select(RUNS).where(is_true(RUNS.c.open)).order_by(RUNS.c.fence, RUNS.c.id)
    for row in connection.execute(open_runs).mappings():
        if run := _readable(rows.run_from, row):
            runs[run.job_id].append(run)
    fires = select(FIRES).where(is_true(FIRES.c.open)).order_by(FIRES.c.fire_at, FIRES.c.key)
    for row in connection.execute(fires).mappings():
        if entry := _readable(rows.entry_from, row):
            entries[entry.job_id].append(entry)
    return [
        Record(job_id, job, arm, tuple(runs[job_id]), tuple(entries[job_id]))
        for job_id, (job, arm) in sorted(heads.items())
    ]


def _readable(read: Callable[[rows.Kept], T], row: rows.Kept) -> T | None:
    try:
        return read(row)
    except StoreError as error:
        _log.error("%s", error)
        return None


def _sentinel() -> ColumnElement[bool]:
    return func.substr(ARMS.c.job_id, 1, len(SENTINEL_PREFIX)) == SENTINEL_PREFIX


def _wanted() -> ColumnElement[bool]:
    return and_(is_true(ARMS.c.wanted), sa.or_(stopped_flag() == 0, ARMS.c.wake_at.is_(sa.null())))


def _dead(clock: Clock) -> ColumnElement[bool]:
    return and_(is_true(RUNS.c.open), sa.or_(RUNS.c.lease_until <= clock, RUNS.c.lease_until.is_(sa.null())))


def _unless_stopped(number: ColumnElement[int]) -> ColumnElement[int]:
    return sa.case((stopped_flag() == 0, number), else_=0)


def _count(column: ColumnElement[str], where: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(select(func.count(column, type_=sa.Integer)).where(where).scalar_subquery(), 0)
