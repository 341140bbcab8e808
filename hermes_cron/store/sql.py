"""`SqlStore`: a store on a SQL database. It reads, lets a pure step decide, and writes, in one short transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from hermes_cron.chapter import Chapter
from hermes_cron.clock import from_micros
from hermes_cron.interfaces import Load, R, Step
from hermes_cron.ledger import Entry, FireState, Keep, Place
from hermes_cron.output import KEPT_IN_ALL, KEPT_PER_JOB, Output
from hermes_cron.record import Moment, Record
from hermes_cron.run import Run
from hermes_cron.store import asking, keeping, outputs, pages, rows, trimming
from hermes_cron.store.database import Database
from hermes_cron.store.tables import META


class SqlStore:
    """Implements `hermes_cron.interfaces.Store`; its methods raise StoreBusy and StoreError as told there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dialect = database.dialect

    def change(self, job_id: str, step: Step[R]) -> R:
        """Apply one step to one job, atomically and durably. A step may be tried again: it must be pure."""
        known = rows.clean(job_id)

        def work(connection: Connection, seconds: float) -> R:
            # I5: from the lock to the commit nobody else changes this job, so what the step decides on is true.
            self._dialect.lock_job(connection, known, seconds)
            moment = asking.moment(connection, self._dialect.clock())
            kept = keeping.load(connection, known)
            record, answer = step(kept.record, moment)
            keeping.save(connection, kept, record, moment.now)
            return answer

        return self._database.write(work)

    def overdue(self, limit: int) -> Sequence[str]:
        """Ids of jobs that need a claim now: a wake has come, or an open run's lease is dead. Oldest first."""
        question = asking.overdue(self._dialect.statement_clock(), limit)
        return self._database.read(lambda connection: list(connection.execute(question).scalars()))

    def wanted(self, limit: int) -> Sequence[str]:
        """Ids (sentinels too) whose arm is wanted, the earliest wake first. While stopped: none but disarms."""
        question = asking.wanted(limit)
        return self._database.read(lambda connection: list(connection.execute(question).scalars()))

    def next_wake(self) -> datetime | None:
        """The earliest wake of any job, sentinels not counted; None when there is none or everything is stopped."""
        micros = self._database.read(lambda connection: connection.execute(asking.next_wake()).scalar())
        return None if micros is None else from_micros(micros)

    def load(self, within: float) -> Load:
        """What is running, waiting, wanted, and due within so many seconds."""
        return self._database.read(lambda connection: asking.load(connection, self._dialect.statement_clock(), within))

    def set_stopped(self, stopped: bool) -> None:
        """Stop everything at every door, or end that. Once this returns, no `begin` is granted (I15)."""

        def work(connection: Connection, seconds: float) -> None:
            self._dialect.lock_stop(connection, seconds)
            connection.execute(META.update().where(META.c.name == "stopped").values(value=int(stopped)))

        self._database.write(work)

    def now(self) -> datetime:
        """The store's own clock, which all of a store's users share."""
        return self._moment().now

    def stopped(self) -> bool:
        """Whether everything is stopped."""
        return self._moment().stopped

    def read(self, job_id: str) -> Record | None:
        """What is kept of one job: its definition, its arm, its open runs and unsettled fires; None if unknown."""
        kept = self._database.read(lambda connection: keeping.load(connection, rows.clean(job_id)))
        return None if kept.unknown else kept.record

    def jobs(self) -> Sequence[Record]:
        """All jobs, without sentinels and removed ones, by id."""
        return self._database.read(asking.jobs)

    def arms(self) -> Sequence[Record]:
        """All records that have an arm in the store: jobs, removed ones not yet disarmed, and sentinels."""
        return self._database.read(asking.arms)

    def fires(
        self, job_id: str | None = None, limit: int = 100, states: Collection[FireState] = (),
        before: Place | None = None,
    ) -> Sequence[Entry]:  # fmt: skip
        """The ledger, newest first: of these states only, if any are given, and only what stands behind `before`."""
        question = pages.fires(job_id, limit, states, before)
        return self._database.read(
            lambda connection: [rows.entry_from(row) for row in connection.execute(question).mappings()]
        )

    def fire(self, job_id: str, key: str) -> Entry | None:
        """The fire with this key of this job, open or settled; None where the ledger has none."""
        question = pages.fire(job_id, key)
        row = self._database.read(lambda connection: connection.execute(question).mappings().one_or_none())
        return None if row is None else rows.entry_from(row)

    def runs(self, job_id: str | None = None, run_id: str | None = None, limit: int = 100) -> Sequence[Run]:
        """Runs, open and ended, newest first."""
        question = pages.runs(job_id, run_id, limit)
        return self._database.read(
            lambda connection: [rows.run_from(row) for row in connection.execute(question).mappings()]
        )

    def runs_of(self, entries: Collection[Entry]) -> Sequence[Run]:
        """All runs of these fires, open and ended, in no order."""
        questions = pages.runs_of(entries)
        return self._database.read(
            lambda connection: [
                rows.run_from(row) for question in questions for row in connection.execute(question).mappings()
            ]
        )

    def keep_output(
        self, run: Run, output: Output, *, per_job: int = KEPT_PER_JOB, in_all: int = KEPT_IN_ALL
    ) -> None:  # fmt: skip
        """Keep what an ended run said, once, and let go what is too old."""
        text = output.to_text()

        def work(connection: Connection, seconds: float) -> None:
            if outputs.keep(connection, run.job_id, run.id, text):
                outputs.let_go(connection, run.job_id, per_job, in_all)

        self._database.write(work)

    def output(self, run_id: str) -> Output | None:
        """What a run said; None where nothing is kept."""
        text = self._database.read(lambda connection: connection.execute(outputs.text_of(run_id)).scalar())
        return None if text is None else rows.output_from(text, run_id)

    def chapters(self, job_id: str | None = None) -> Sequence[Chapter]:
        """What was due when, by job, oldest first; removed jobs' too."""
        question = pages.chapters(job_id)
        return self._database.read(
            lambda connection: [rows.chapter_from(row) for row in connection.execute(question).mappings()]
        )

    def trim(self, keep: Keep, limit: int = 500) -> int:
        """Forget the oldest of what `rules.trim` lets go, with its runs and what they said; how many fires went."""
        if keep.for_ever or limit <= 0:
            return 0
        now = self.now()
        found = self._database.read(lambda connection: trimming.plan(connection, now, keep, limit))
        if found.idle:
            return 0
        return self._database.write(lambda connection, seconds: trimming.take(connection, found, now, keep, limit))

    def trims(self) -> Mapping[str, datetime]:
        """Up to which instant each job's ledger was trimmed."""
        return self._database.read(trimming.trims)

    def close(self) -> None:
        """Give back every connection. Closing twice is closing once."""
        self._database.close()

    def _moment(self) -> Moment:
        return self._database.read(lambda connection: asking.moment(connection, self._dialect.clock()))
