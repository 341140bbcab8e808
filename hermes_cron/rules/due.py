"""Fires due by now: misfire, then overlap, decided for all of them at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hermes_cron.job import Job
from hermes_cron.ledger import Entry, FireState, scheduled_key
from hermes_cron.record import Moment, Record
from hermes_cron.rules.wake import BACKLOG, passed

SKIP_LATE = timedelta(seconds=60)
"""With `misfire: skip` the last due fire still runs if it is at most this late."""


def decide_due(record: Record, moment: Moment, *, granted: bool) -> tuple[Record, Entry | None]:
    """Settle or queue every fire that is due, and answer with the one to run now, if any.

    Afterwards `next_fire_at` lies in the future. `granted` says that this claim has given its one run away already.
    """
    job = record.job
    assert job is not None  # noqa: S101 - the claim refused a record without a job.
    last = job.last_due(moment.now)
    if last is None or job.next_fire_at is None:
        return record, None
    chosen = _misfire(job, last, moment.now)
    record = _missed(record, moment, job.next_fire_at, last, chosen)
    following = None if job.anchored_at_completion and chosen else job.fire_following(last, moment.now)
    record = record.with_job(next_fire_at=following)
    entries = [Entry(job.id, scheduled_key(at), at, FireState.WAITING, since=moment.now) for at in chosen]
    return _overlap(record, moment, entries, granted=granted)


def _misfire(job: Job, last: datetime, now: datetime) -> list[datetime]:
    """Which of the due fires are to run, oldest first."""
    allowed = min(job.grace, SKIP_LATE) if job.policy.misfire == "skip" else job.grace
    chosen: list[datetime] = []
    most = job.policy.misfire_max if job.policy.misfire == "run_all" else 1
    at: datetime | None = last
    while at is not None and len(chosen) < most and now - at <= allowed:
        chosen.append(at)
        at = job.fire_before(at)
    return chosen[::-1]


def _missed(record: Record, moment: Moment, first: datetime, last: datetime, chosen: list[datetime]) -> Record:
    job = record.job
    assert job is not None  # noqa: S101 - the claim refused a record without a job.
    end = job.fire_before(chosen[0]) if chosen else last
    if end is None:
        return record
    return record.with_entry(passed(record, first, end, FireState.MISSED, "too late", moment.now))


def _overlap(record: Record, moment: Moment, entries: list[Entry], *, granted: bool) -> tuple[Record, Entry | None]:
    if not entries:
        return record, None
    if not record.open_runs:
        return _queue(record, entries[1:], BACKLOG), entries[0]
    policy = _policy_against(record)
    if policy == "allow":
        if not granted:
            return _queue(record, entries[1:], BACKLOG), entries[0]
        return _queue(_queue(record, entries[:1], "beside"), entries[1:], BACKLOG), None
    if policy == "skip":
        return _skip(record, moment, entries, "overlap"), None
    if policy == "replace":
        record = _skip(_asked_to_stop(record), moment, [*_scheduled_waiting(record), *entries[:-1]], "replaced")
        return _queue(record, entries[-1:], "replace"), None
    room = _room(record)
    record = _skip(record, moment, entries[room:], "overlap")
    return _queue(record, entries[:room], BACKLOG if len(entries[:room]) > 1 else "queue"), None


def _policy_against(record: Record) -> str:
    """The overlap policy; against a manual run every one but `allow` means `queue`."""
    job = record.job
    assert job is not None  # noqa: S101 - the claim refused a record without a job.
    if job.policy.overlap != "allow" and all(run.manual for run in record.open_runs):
        return "queue"
    return job.policy.overlap


def _room(record: Record) -> int:
    job = record.job
    assert job is not None  # noqa: S101 - the claim refused a record without a job.
    capacity = job.policy.misfire_max if job.policy.misfire == "run_all" else 1
    return max(0, capacity - len(_scheduled_waiting(record)))


def _scheduled_waiting(record: Record) -> list[Entry]:
    return [entry for entry in record.waiting if not entry.manual]


def _queue(record: Record, entries: list[Entry], reason: str) -> Record:
    for entry in entries:
        record = record.with_entry(replace(entry, reason=reason))
    return record


def _skip(record: Record, moment: Moment, entries: list[Entry], reason: str) -> Record:
    for entry in entries:
        record = record.with_entry(entry.settle(FireState.SKIPPED, reason, moment.now))
    return record


def _asked_to_stop(record: Record) -> Record:
    for run in record.open_runs:
        if not run.manual and not run.cancel:
            record = record.with_run(replace(run, cancel="replaced"))
    return record
