"""What runs said: one row for each of the newest runs that said anything, written once, and apart from the runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, func, select

from hermes_cron.store import rows
from hermes_cron.store.tables import OUTPUTS, RUNS


def keep(connection: Connection, job_id: str, run_id: str, text: str) -> bool:
    """Keep it if the run has ended and nothing of it is kept yet; whether it was."""
    job_id, run_id = rows.clean(job_id), rows.clean(run_id)
    run = select(RUNS.c.open).where(RUNS.c.id == run_id, RUNS.c.job_id == job_id)
    known = connection.execute(select(OUTPUTS.c.id).where(OUTPUTS.c.run_id == run_id)).scalar()
    # I6: who may still write, or has written already, is not written over.
    if known is not None or connection.execute(run).scalar() != 0:
        return False
    connection.execute(OUTPUTS.insert().values(run_id=run_id, job_id=job_id, text=text))
    return True


def let_go(connection: Connection, job_id: str, per_job: int, in_all: int) -> None:
    """Let go what is too old: all but the newest so many, of this job and of all."""
    job_id = rows.clean(job_id)
    newest = select(OUTPUTS.c.id).where(OUTPUTS.c.job_id == job_id).order_by(OUTPUTS.c.id.desc())
    oldest_kept = newest.offset(per_job - 1).limit(1).scalar_subquery()
    connection.execute(OUTPUTS.delete().where(OUTPUTS.c.job_id == job_id, OUTPUTS.c.id < oldest_kept))
    last = select(func.max(OUTPUTS.c.id)).scalar_subquery()
    connection.execute(OUTPUTS.delete().where(OUTPUTS.c.id <= last - in_all))


def text_of(run_id: str) -> Select[Any]:
    """The question for what a run said."""
    return select(OUTPUTS.c.text).where(OUTPUTS.c.run_id == rows.clean(run_id))
