"""When must something be awake for this job, and is the job done? Every step ends here."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hermes_cron.clock import to_micros
from hermes_cron.job import JobState
from hermes_cron.ledger import Entry, FireState, scheduled_key
from hermes_cron.record import Moment, Record
from hermes_cron.run import Run

GUARD_WITHOUT_TIMEOUT = timedelta(hours=1)
GUARD_STEP = timedelta(minutes=1)
"""How far a guard that finds its lease alive moves on at least, where the run has a timeout."""

BACKLOG = "backlog"
"""Why a fire waits that is one of several to be run one after another."""


def settled(record: Record, moment: Moment) -> Record:
    """The record with its guards moved on, its job completed where it is done, and its wake worked out anew.

    A removed job goes for good with the last of what is left of it.
    """
    if record.job is None:
        return record
    record = _guards_moved(record, moment.now)
    record = _completed(record)
    return purged(replace(record, arm=replace(record.arm, wake_at=wake_at(record))), moment)


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
            step = GUARD_WITHOUT_TIMEOUT if run.timeout is None else GUARD_STEP
            record = record.with_run(replace(run, guard_at=max(now + step, run.lease_until or now)))
    return record


def _alive(run: Run, now: datetime) -> bool:
    return run.lease_until is not None and run.lease_until > now


def _completed(record: Record) -> Record:
    job = record.job
    if job is None or record.open_runs or any(entry.open for entry in record.entries):
        return record
    over = job.state is JobState.SCHEDULED and job.next_fire_at is None
    # I14: every fire that counts has its outcome, and there is no further one; for a paused job too.
    if over or (job.state is JobState.PAUSED and job.used_up):
        return replace(record, job=job.with_state(JobState.COMPLETED))
    return record


def next_from_completion(record: Record, moment: Moment) -> Record:
    """For a job anchored at completion: its next fire, counted from now, once nothing of it runs or waits."""
    job = record.job
    if job is None:
        return record
    idle = not record.open_runs and not any(e.open and not e.manual for e in record.entries)
    if job.anchored_at_completion and job.state is JobState.SCHEDULED and job.next_fire_at is None and idle:
        return record.with_job(next_fire_at=job.first_fire(moment.now))
    return record


def first_fence(moment: Moment) -> int:
    """Where the fence of a new job starts: above that of an earlier job with its id, whose row is gone."""
    return to_micros(moment.now) // 1000


def purged(record: Record, moment: Moment) -> Record:
    """The record without its removed job, once no run is open, no fire unsettled and no disarm wanted."""
    job = record.job
    over = not record.open_runs and not any(e.open for e in record.entries) and not record.arm.wanted
    if job is None or job.state is not JobState.REMOVED or not over or record.arm.wake_at is not None:
        return record
    if job.fence >= first_fence(moment):
        return record  # More grants than milliseconds: its row must keep the fence from falling.
    return replace(record, job=None, arm=type(record.arm)())


def repeat_used_up(record: Record, moment: Moment) -> Record:
    """The record with no fire to come beyond the last that counts; what is due or waits uncounted is skipped (I14)."""
    if record.job is None or not record.job.used_up:
        return record
    record = due_let_go(record, moment, FireState.SKIPPED, "repeat").with_job(next_fire_at=None)
    for entry in record.waiting:
        if not entry.counted and not entry.manual:
            record = record.with_entry(entry.settle(FireState.SKIPPED, "repeat", moment.now))
    return record


def let_go(record: Record, moment: Moment, *, scheduled: FireState, manual: FireState | None, reason: str) -> Record:
    """Settle what is due, waiting or to be retried, because its job is paused, removed or moved.

    A retry's fire ends `failed`, the others as told; `manual` None leaves manual runs waiting.
    """
    record = due_let_go(record, moment, scheduled, reason)
    for entry in record.entries:
        state = manual if entry.manual else scheduled
        if entry.state is FireState.WAITING and state is not None:
            state = state if entry.not_before is None else FireState.FAILED
            record = record.with_entry(entry.settle(state, reason, moment.now))
    return record


def due_let_go(record: Record, moment: Moment, state: FireState, reason: str) -> Record:
    """Settle the fires that are due and that no claim has decided; the next one lies in the future then."""
    job = record.job
    if job is None or job.next_fire_at is None:
        return record
    last = job.last_due(moment.now)
    if last is None:
        return record
    row = passed(record, job.next_fire_at, last, state, reason, moment.now)
    return record.with_entry(row).with_job(next_fire_at=job.fire_following(last, moment.now))


def passed(record: Record, first: datetime, last: datetime, state: FireState, reason: str, now: datetime) -> Entry:
    """One ledger row for the due fires from `first` to `last`, that end alike without having run."""
    job = record.job
    assert job is not None  # noqa: S101 - only a job has due fires.
    count = 1 if first == last else job.fires_between(first, last)
    last_at = None if first == last else last
    key = scheduled_key(first)
    return Entry(record.job_id, key, first, state, last_at=last_at, count=count, reason=reason, settled_at=now)
