"""`Record`: everything the store keeps of one job that is not settled yet; what the pure steps work on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from hermes_cron.arm import Arm
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import Entry, FireState
from hermes_cron.run import Run


@dataclass(frozen=True, slots=True)
class Moment:
    """When a step is taken: the store's time, and whether everything is stopped."""

    now: datetime
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One job (None: unknown, or a sentinel), its arm, its open runs and its unsettled fires.

    A step may settle runs and fires; they stay in the record it returns, for the store to write, and are no longer
    there when it is next read. A record with no job and a blank arm is deleted.
    """

    job_id: str
    job: Job | None = None
    arm: Arm = Arm()
    runs: tuple[Run, ...] = ()
    entries: tuple[Entry, ...] = ()

    @property
    def blank(self) -> bool:
        """Whether there is nothing to keep."""
        return self.job is None and self.arm == Arm()

    @property
    def known(self) -> bool:
        """Whether a person can see the job."""
        return self.job is not None and self.job.state is not JobState.REMOVED

    @property
    def open_runs(self) -> tuple[Run, ...]:
        """Runs that may still write."""
        return tuple(run for run in self.runs if run.open)

    @property
    def waiting(self) -> tuple[Entry, ...]:
        """Fires that wait for their turn, the oldest first (one that was handed back, too); no retries."""
        ready = [e for e in self.entries if e.state is FireState.WAITING and e.not_before is None]
        return tuple(sorted(ready, key=lambda e: (e.fire_at, e.key)))

    @property
    def retries(self) -> tuple[Entry, ...]:
        """Fires that wait for a retry's instant, the earliest first."""
        planned = [e for e in self.entries if e.state is FireState.WAITING and e.not_before is not None]
        return tuple(sorted(planned, key=lambda e: e.not_before or e.fire_at))

    def run(self, run_id: str) -> Run | None:
        """The open run with this id."""
        return next((run for run in self.runs if run.id == run_id and run.open), None)

    def entry(self, key: str) -> Entry | None:
        """The fire with this key."""
        return next((entry for entry in self.entries if entry.key == key), None)

    def with_run(self, run: Run) -> Record:
        """The record with this run put in the place of the one with its id, or added."""
        others = tuple(r for r in self.runs if r.id != run.id)
        return replace(self, runs=(*others, run))

    def with_entry(self, entry: Entry) -> Record:
        """The record with this fire put in the place of the one with its key, or added."""
        others = tuple(e for e in self.entries if e.key != entry.key)
        return replace(self, entries=(*others, entry))

    def with_job(self, **changes: Any) -> Record:
        """The record with these fields of its job changed."""
        assert self.job is not None, "only a record with a job can change it"  # noqa: S101 - a rule asked first.
        return replace(self, job=replace(self.job, **changes))
