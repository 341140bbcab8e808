"""One job's rows: read them as a `Record`, and write what a step changed of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, Table, and_, select
from sqlalchemy.exc import IntegrityError

from hermes_cron.arm import Arm
from hermes_cron.chapter import next_chapter
from hermes_cron.errors import StoreError
from hermes_cron.ledger import Entry
from hermes_cron.record import Record
from hermes_cron.run import Run
from hermes_cron.store import rows
from hermes_cron.store.tables import ARMS, CHAPTERS, FIRES, JOBS, RUNS, is_true

V = TypeVar("V", Run, Entry)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one id: the record, and the rows of its job and arm (None: it has none)."""

    record: Record
    job: rows.Kept | None
    arm: rows.Kept | None

    @property
    def unknown(self) -> bool:
        """Whether nothing at all is kept of it."""
        return self.job is None and self.arm is None and not self.record.runs and not self.record.entries


def load(connection: Connection, job_id: str) -> Kept:
    """What is kept of one id and is not settled.

    Raises:
        StoreError: One of its rows cannot be read.
    """
    job = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).mappings().one_or_none()
    arm = connection.execute(select(ARMS).where(ARMS.c.job_id == job_id)).mappings().one_or_none()
    runs = connection.execute(
        select(RUNS).where(is_true(RUNS.c.open), RUNS.c.job_id == job_id).order_by(RUNS.c.fence, RUNS.c.id)
    )
    fires = connection.execute(
        select(FIRES).where(is_true(FIRES.c.open), FIRES.c.job_id == job_id).order_by(FIRES.c.fire_at, FIRES.c.key)
    )
    record = Record(
        job_id,
        None if job is None else rows.job_from(job),
        Arm() if arm is None else rows.arm_from(arm),
        tuple(rows.run_from(row) for row in runs.mappings()),
        tuple(rows.entry_from(row) for row in fires.mappings()),
    )
    return Kept(record, job, arm)


def save(connection: Connection, kept: Kept, record: Record, now: datetime) -> None:
    """Write what differs from what was read, and the chapter that this begins, if any.

    Raises:
        StoreError: A run or fire would be written that has its outcome already (I12).
    """
    if record is kept.record:
        return
    _save_job(connection, kept, record)
    chapter = next_chapter(kept.record.job, record.job, now)
    if chapter is not None:
        connection.execute(CHAPTERS.insert(), rows.chapter_row(chapter))
    _save_arm(connection, kept, record)
    _save_open(connection, RUNS, [rows.run_row(run) for run in _changed(kept.record.runs, record.runs)],
               {run.id for run in kept.record.runs})  # fmt: skip
    _save_open(connection, FIRES, [rows.entry_row(entry) for entry in _changed(kept.record.entries, record.entries)],
               {entry.key for entry in kept.record.entries})  # fmt: skip


def _save_job(connection: Connection, kept: Kept, record: Record) -> None:
    old, new = kept.record.job, record.job
    if new is old:
        return
    if new is None:
        connection.execute(JOBS.delete().where(JOBS.c.id == record.job_id))
    elif kept.job is None:
        connection.execute(JOBS.insert(), rows.job_row(new))
    else:
        changes = _difference(kept.job, rows.job_row(new, old, kept.job))
        if changes:
            connection.execute(JOBS.update().where(JOBS.c.id == record.job_id).values(changes))


def _save_arm(connection: Connection, kept: Kept, record: Record) -> None:
    if record.blank:
        if kept.arm is not None:
            connection.execute(ARMS.delete().where(ARMS.c.job_id == record.job_id))
    elif kept.arm is None:
        connection.execute(ARMS.insert(), rows.arm_row(record.job_id, record.arm))
    elif record.arm is not kept.record.arm:
        changes = _difference(kept.arm, rows.arm_row(record.job_id, record.arm))
        if changes:
            connection.execute(ARMS.update().where(ARMS.c.job_id == record.job_id).values(changes))


def _save_open(connection: Connection, table: Table, changed: list[rows.Row], known: set[str]) -> None:
    name = table.c.id if table is RUNS else table.c.key
    for row in changed:
        if row[name.key] in known:
            # I12: what has its outcome is not written again, whatever a step says.
            same = and_(name == row[name.key], table.c.job_id == row["job_id"], is_true(table.c.open))
            if connection.execute(table.update().where(same).values(row)).rowcount != 1:
                raise _settled_already(table, row[name.key])
    new = [row for row in changed if row[name.key] not in known]
    if new:
        try:
            connection.execute(table.insert(), new)
        except IntegrityError as error:
            raise _settled_already(table, ", ".join(str(row[name.key]) for row in new[:3])) from error


def _changed(old: tuple[V, ...], new: tuple[V, ...]) -> list[V]:
    if old is new:
        return []
    before = {_name(value): value for value in old}
    latest = {_name(value): value for value in new}
    return [value for name, value in latest.items() if before.get(name) is not value and before.get(name) != value]


def _name(value: Run | Entry) -> str:
    return value.id if isinstance(value, Run) else value.key


def _difference(kept: rows.Kept, row: rows.Row) -> rows.Row:
    return {name: value for name, value in row.items() if kept[name] != value}


def _settled_already(table: Table, name: str) -> StoreError:
    what = "run" if table is RUNS else "fire"
    return StoreError(f"The {what} {name!r} has its outcome already, which never changes; nothing was written.")
