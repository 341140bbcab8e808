"""What a claimed run may write: that it begins, that it lives, and what became of it. Each write is fenced (I6)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hermes_cron.job import JobState
from hermes_cron.ledger import Entry, FireState
from hermes_cron.record import Moment, Record
from hermes_cron.rules.claim import after_death, barred, closed_because
from hermes_cron.rules.wake import guard_after, let_go, may_run, next_from_completion, settled
from hermes_cron.run import Run, RunState

OUTCOMES = {
    RunState.SUCCEEDED: FireState.SUCCEEDED,
    RunState.FAILED: FireState.FAILED,
    RunState.CANCELLED: FireState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Lost:
    """The run is not ours any more, or may not start: `reason` says why; `ring` as in `Ended`."""

    reason: str
    ring: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """What a completion came to: whether it was written, and whether another fire of the job may be claimed at once."""

    written: bool
    ring: bool = False


def begin(record: Record, moment: Moment, *, run: Run, lease: timedelta) -> tuple[Record, Run | Lost]:
    """Start the body: the last door before it.

    I15: refused when the job has been paused, removed or stopped since the claim; the fire then ends `cancelled`.
    """
    held = _held(record, run)
    if held is None:
        return record, Lost("taken over")
    entry = record.entry(run.key)
    reason = (barred(record, moment, entry) if entry else closed_because(record, moment)) or held.cancel
    if reason:
        ended = replace(held, state=RunState.CANCELLED, ended_at=moment.now, error=f"not started: {reason}")
        record, closed = _ended(record, moment, ended)
        return record, Lost(reason, closed.ring)
    started = replace(
        held, state=RunState.STARTED, started_at=moment.now, lease_until=moment.now + lease,
        guard_at=guard_after(moment.now, held.timeout, lease),
    )  # fmt: skip
    return settled(record.with_run(started), moment), started


def renew(record: Record, moment: Moment, *, run: Run, lease: timedelta) -> tuple[Record, Run | Lost]:
    """Lengthen the lease. The clock alone revokes nothing: a lease that nobody took may be renewed after its end."""
    held = _held(record, run)
    if held is None:
        return record, Lost("taken over")
    held = replace(held, lease_until=moment.now + lease)
    return record.with_run(held), held


def complete(record: Record, moment: Moment, *, run: Run) -> tuple[Record, Ended]:
    """Write what became of the run, its fire's outcome or retry, and what the job is to do next.

    I12: a run that was taken over or closed writes nothing, so an outcome once written never changes.
    """
    held = _held(record, run)
    if held is None:
        return record, Ended(written=False)
    ended = replace(
        held, state=run.state, ended_at=moment.now, error=run.error, result=run.result, deadline=run.deadline
    )
    return _ended(record, moment, ended)


def hand_back(record: Record, moment: Moment, *, run: Run, reason: str) -> tuple[Record, Ended]:
    """A draining worker gives the run up: its fire waits again, and it is not counted in `reruns`.

    It ends `cancelled` where nothing may come of it any more. A global stop is no such reason: `start` ends it.
    """
    held = _held(record, run)
    if held is None:
        return record, Ended(written=False)
    record = record.with_run(replace(held, state=RunState.ABANDONED, ended_at=moment.now, error=reason))
    entry = record.entry(run.key)
    if entry is not None and entry.open:
        over = held.cancel or barred(record, replace(moment, stopped=False), entry)
        waiting = replace(entry, state=FireState.WAITING, since=moment.now, reason="handed back")
        record = record.with_entry(entry.settle(FireState.CANCELLED, over, moment.now) if over else waiting)
    return _closed(record, moment)


def died(record: Record, moment: Moment, *, run: Run, reason: str) -> tuple[Record, Ended]:
    """The run's process died under it, and its worker lives to say so: as if the worker had died, only sooner.

    Its fire is run again while `reruns` allows, else `interrupted`. A global stop is no such reason, as above.
    """
    held = _held(record, run)
    if held is None:
        return record, Ended(written=False)
    record = record.with_run(replace(held, state=RunState.ABANDONED, ended_at=moment.now, error=reason))
    entry = record.entry(run.key)
    if entry is not None and entry.open:
        record = record.with_entry(after_death(record, replace(moment, stopped=False), held, entry, reason[:200]))
    return _closed(record, moment)


def _held(record: Record, run: Run) -> Run | None:
    # I6: only the open run with this fence may be written; a take-over closed the old one in its own transaction.
    held = record.run(run.id)
    return held if held is not None and held.fence == run.fence else None


def _ended(record: Record, moment: Moment, run: Run) -> tuple[Record, Ended]:
    record = record.with_run(run)
    entry = record.entry(run.key)
    if entry is not None and entry.open:
        record = _fire_ended(record, moment, run, entry)
    return _closed(record, moment)


def _closed(record: Record, moment: Moment) -> tuple[Record, Ended]:
    record = next_from_completion(record, moment)
    record = settled(record, moment)
    ring = any(may_run(record, e) for e in record.waiting) and not closed_because(record, moment)
    return record, Ended(written=True, ring=ring)


def _fire_ended(record: Record, moment: Moment, run: Run, entry: Entry) -> Record:
    if run.state is RunState.FAILED:
        entry = replace(entry, failures=entry.failures + 1)
        retry_at = _retry_at(record, moment, run, entry)
        if retry_at is not None:
            waiting = replace(entry, state=FireState.WAITING, not_before=retry_at, reason=run.error[:200])
            return record.with_entry(waiting)
    record = record.with_entry(entry.settle(OUTCOMES[run.state], run.error[:200], moment.now))
    return record if entry.manual or run.state is RunState.CANCELLED else _streak(record, moment, run)


def _retry_at(record: Record, moment: Moment, run: Run, entry: Entry) -> datetime | None:
    """When to try again; None when attempts are used up, it was cancelled, or the next fire comes first."""
    job = record.job
    if job is None or barred(record, moment, entry) or run.cancel or entry.failures >= job.policy.max_attempts:
        return None
    ceiling = min(job.policy.backoff_cap, job.policy.backoff * 2 ** min(entry.failures - 1, 32))
    share = int.from_bytes(hashlib.sha256(run.id.encode()).digest()[:8]) / 2**64
    at = moment.now + timedelta(seconds=max(0.1, ceiling * share))
    too_late = job.next_fire_at is not None and at >= job.next_fire_at and not entry.manual
    return None if too_late else at


def _streak(record: Record, moment: Moment, run: Run) -> Record:
    job = record.job
    if job is None:
        return record
    if run.state is RunState.SUCCEEDED:
        return record.with_job(failures_in_row=0)
    failures = job.failures_in_row + 1
    record = record.with_job(failures_in_row=failures)
    limit = job.policy.pause_on_failure
    if not limit or failures < limit or job.state is not JobState.SCHEDULED:
        return record
    record = let_go(record, moment, scheduled=FireState.SKIPPED, manual=FireState.CANCELLED, reason="paused")
    assert record.job is not None  # noqa: S101 - `let_go` keeps the job.
    return replace(record, job=record.job.with_state(JobState.PAUSED, f"{failures} failures in a row"))
