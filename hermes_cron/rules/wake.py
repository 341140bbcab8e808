"""When must something be awake for this job, and is the job done? Every step ends here."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hermes_cron.job import JobState
from hermes_cron.ledger import Entry, FireState
from hermes_cron.record import Moment, Record
from hermes_cron.run import Run

GUARD_WITHOUT_TIMEOUT = timedelta(hours=1)
BACKLOG = "backlog"
"""Why a fire waits that is one of several to be run one after another."""


def settled(record: Record, moment: Moment) -> Record:
    """The record with its guards moved on, its job completed where it is done, and its wake worked out anew."""
    if record.job is None:
        return record
    record = _guards_moved(record, moment.now)
    record = _completed(record)
    return replace(record, arm=replace(record.arm, wake_at=wake_at(record)))


def wake_at(record: Record) -> datetime | None:
    """The earliest reason to be awake: the next fire, a retry, a waiting fire that may run, a live run's guard."""
    assert record.job is not None  # noqa: S101 - `settled` asked first.
    reasons = [run.guard_at for run in record.open_runs if run.guard_at is not None]
    if record.job.state is JobState.SCHEDULED:
        if record.job.next_fire_at is not None:
            reasons.append(record.job.next_fire_at)
        reasons += [entry.not_before for entry in record.retries if entry.not_before is not None]
        reasons += [entry.since or entry.fire_at for entry in record.waiting if may_run(record, entry)]
    return min(reasons, default=None)


def may_run(record: Record, entry: Entry) -> bool:
    """Whether a waiting fire may be claimed now: nothing runs, or it may run beside what does."""
    assert record.job is not None  # noqa: S101 - callers hold a record with a job.
    if not record.open_runs:
        return True
    return record.job.policy.overlap == "allow" and entry.reason != BACKLOG


def guard_after(start: datetime, timeout: float | None, lease: timedelta) -> datetime:
    """When a run that began at `start` is looked at, should nobody have heard of it by then."""
    return start + (GUARD_WITHOUT_TIMEOUT if timeout is None else timedelta(seconds=timeout) + 2 * lease)


def _guards_moved(record: Record, now: datetime) -> Record:
    for run in record.open_runs:
        if run.guard_at is not None and run.guard_at <= now and _alive(run, now):
            step = GUARD_WITHOUT_TIMEOUT if run.timeout is None else timedelta(seconds=60)
            record = record.with_run(replace(run, guard_at=now + step))
    return record


def _alive(run: Run, now: datetime) -> bool:
    return run.lease_until is not None and run.lease_until > now


def _completed(record: Record) -> Record:
    job = record.job
    if job is None or job.state is not JobState.SCHEDULED or job.next_fire_at is not None:
        return record
    if record.open_runs or any(entry.open for entry in record.entries):
        return record
    # I14: it has no next fire, and every fire that counts has its outcome.
    return replace(record, job=job.with_state(JobState.COMPLETED))


def let_go(record: Record, moment: Moment, *, scheduled: FireState, retry: FireState, reason: str) -> Record:
    """Settle what is due, waiting or to be retried, because its job is paused, removed, moved or was stopped.

    A waiting manual run ends `cancelled`, whatever the others end as.
    """
    record = _due_let_go(record, moment, scheduled, reason)
    for entry in record.entries:
        if entry.state is FireState.WAITING:
            state = retry if entry.not_before is not None else FireState.CANCELLED if entry.manual else scheduled
            record = record.with_entry(entry.settle(state, reason, moment.now))
    return record


def _due_let_go(record: Record, moment: Moment, state: FireState, reason: str) -> Record:
    job = record.job
    if job is None or job.next_fire_at is None:
        return record
    last = job.last_due(moment.now)
    if last is None:
        return record
    row = passed(record, job.next_fire_at, last, state, reason, moment.now)
    return record.with_entry(row).with_job(next_fire_at=job.fire_after(last))


def passed(record: Record, first: datetime, last: datetime, state: FireState, reason: str, now: datetime) -> Entry:
    """One ledger row for the due fires from `first` to `last`, that end alike without having run."""
    from_key = first.isoformat()
    job = record.job
    assert job is not None  # noqa: S101 - only a job has due fires.
    count = 1 if first == last else job.fires_between(first, last)
    last_at = None if first == last else last
    return Entry(record.job_id, from_key, first, state, last_at=last_at, count=count, reason=reason, settled_at=now)
