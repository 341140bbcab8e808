"""The claim: the only door to running, for a fire, the ticker, the sweep and a manual run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from hermes_cron.contract import EARLY_S
from hermes_cron.fire import Fire
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import Entry, FireState, scheduled_key
from hermes_cron.record import Moment, Record
from hermes_cron.rules.due import decide_due
from hermes_cron.rules.wake import guard_after, may_run, next_from_completion, repeat_used_up, settled
from hermes_cron.run import Run, RunState

TAKEN_OVER = "its worker died; taken over"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim came to: a run; a refusal and its reason; or, undecided, the seconds to `wait` for the instant."""

    run: Run | None = None
    reason: str = "granted"
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Claimer:
    """Who claims: the worker's name, and the life of the leases it asks for."""

    worker: str
    lease: timedelta


def claim(record: Record, moment: Moment, *, fire: Fire, claimer: Claimer) -> tuple[Record, Claim]:
    """Decide everything about this job that is to be decided now, and grant at most one run of it.

    I5: in the store this is one transaction. In order:
    1. A run whose lease is dead is taken over while `reruns` allows; else its fire is `interrupted`.
    2. Gone, paused, completed or stopped: refused with that reason.
    3. A retry that is due, while the next fire is not.
    4. A waiting fire.
    5. Fires due by now: misfire, then overlap, decided for all of them.
    6. Nothing is due: early, duplicate or stale.
    A fire that names an instant spends the alarm it came from, granted or refused; one that is early by at most
    60 s is not decided at all, and waits.
    """
    early = _early_by(record, moment, fire)
    if early is not None:
        return record, Claim(reason="early", wait=early)
    if fire.fire_at is not None and (record.job is not None or not record.blank):
        record = replace(record, arm=record.arm.spend(fire.fire_at, moment.now))
    record, run = _take_over(record, moment, claimer)
    closed = closed_because(record, moment)
    if closed:
        return settled(record, moment), Claim(reason=closed)
    record = _retries_ready(record, moment)
    if run is None:
        record, run = _wait_over(record, moment, claimer)
    record, ready = decide_due(record, moment, granted=run is not None)
    if ready is not None:
        record, run = grant(record, moment, ready, claimer)
    record = settled(record, moment)
    return record, Claim(run) if run is not None else Claim(reason=_nothing_due(record, fire))


def closed_because(record: Record, moment: Moment) -> str:
    """Why nothing of this job may start; empty when it may."""
    if record.job is None or record.job.state is JobState.REMOVED:
        return "gone"
    if record.job.state is JobState.PAUSED:
        return "paused"
    if record.job.state is JobState.COMPLETED:
        return "completed"
    return "stopped" if moment.stopped else ""


def barred(record: Record, moment: Moment, entry: Entry) -> str:
    """Why this fire, of which a run is open, may not start or be tried again; empty when it may.

    Its job may be open again meanwhile (resumed, added anew): what a pause, a removal or a stop had found claimed
    carries the reason with it (I15).
    """
    return closed_because(record, moment) or (entry.reason if entry.state is FireState.RUNNING else "")


def grant(record: Record, moment: Moment, entry: Entry, claimer: Claimer) -> tuple[Record, Run]:
    """Open a run of this fire under the next fence, leased to the claimer; count the fire at its first attempt."""
    job = _job(record)
    now = moment.now
    fence = job.fence + 1
    run = Run(
        id=f"{job.id}:{fence}", job_id=job.id, key=entry.key, fire_at=entry.fire_at, attempt=entry.attempts + 1,
        fence=fence, task=job.task, args=job.args, timeout=job.policy.timeout, worker=claimer.worker, claimed_at=now,
        lease_until=now + claimer.lease, guard_at=guard_after(now, job.policy.timeout, claimer.lease),
        manual=entry.manual,
    )  # fmt: skip
    first = not entry.manual and not entry.counted
    running = replace(
        entry, state=FireState.RUNNING, attempts=run.attempt, not_before=None, since=None, reason="",
        counted=entry.counted or first,
    )  # fmt: skip
    last_fire_at = job.last_fire_at if entry.manual else entry.fire_at
    record = record.with_run(run).with_entry(running)
    record = record.with_job(fence=fence, last_fire_at=last_fire_at, counted=job.counted + first)
    return (repeat_used_up(record, moment) if first else record), run


def _early_by(record: Record, moment: Moment, fire: Fire) -> float | None:
    if fire.fire_at is None or closed_because(record, moment):
        return None
    ahead = (fire.fire_at - moment.now).total_seconds()
    return ahead if 0 < ahead <= EARLY_S else None


def _take_over(record: Record, moment: Moment, claimer: Claimer) -> tuple[Record, Run | None]:
    if moment.stopped or record.job is None:
        return record, None
    granted: Run | None = None
    for run in record.open_runs:
        if run.lease_until is not None and run.lease_until > moment.now:
            continue
        # I6: from here on the old holder can write nothing, whenever it thaws.
        record = record.with_run(replace(run, state=RunState.ABANDONED, ended_at=moment.now, error=TAKEN_OVER))
        entry = record.entry(run.key)
        if entry is None or not entry.open:
            continue
        entry = after_death(record, moment, run, entry, "its worker died")
        if not entry.open:
            record = next_from_completion(record.with_entry(entry), moment)
        elif granted is None:
            record, granted = grant(record, moment, entry, claimer)
        else:
            record = record.with_entry(entry)
    return record, granted


def after_death(record: Record, moment: Moment, run: Run, entry: Entry, reason: str) -> Entry:
    """What becomes of a fire whose run died: it waits for another run while `reruns` allows. Dying is not failing."""
    entry = replace(entry, deaths=entry.deaths + 1)
    if barred(record, moment, entry) or (entry.deaths > _job(record).policy.reruns and not run.cancel):
        return entry.settle(FireState.INTERRUPTED, reason, moment.now)
    if run.cancel:
        return entry.settle(FireState.CANCELLED, run.cancel, moment.now)
    return replace(entry, state=FireState.WAITING, since=moment.now, reason=reason)


def _retries_ready(record: Record, moment: Moment) -> Record:
    job = _job(record)
    next_is_due = job.next_fire_at is not None and job.next_fire_at <= moment.now
    for entry in record.retries:
        if entry.not_before is None or entry.not_before > moment.now:
            continue
        if next_is_due and not entry.manual:
            record = record.with_entry(entry.settle(FireState.FAILED, "the next fire came first", moment.now))
        else:
            record = record.with_entry(replace(entry, not_before=None, since=entry.not_before, reason="retry"))
    return record


def _wait_over(record: Record, moment: Moment, claimer: Claimer) -> tuple[Record, Run | None]:
    entry = next((e for e in record.waiting if may_run(record, e)), None)
    if entry is None:
        return record, None
    return grant(record, moment, entry, claimer)


def _nothing_due(record: Record, fire: Fire) -> str:
    if fire.fire_at is None:
        return "nothing due"
    job = _job(record)
    running = any(run.key == scheduled_key(fire.fire_at) for run in record.open_runs)
    if running or job.last_fire_at == fire.fire_at:
        return "duplicate"
    return "early" if job.next_fire_at == fire.fire_at else "stale"


def _job(record: Record) -> Job:
    assert record.job is not None  # noqa: S101 - `closed_because` refused a record without one.
    return record.job
