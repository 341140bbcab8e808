"""What people change: create, edit, pause, resume, remove, run now, cancel a run, and the end of a global stop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from hermes_cron.clock import instant_text
from hermes_cron.errors import JobChanged, JobExists, JobNotFound, JobStateError, RunNotFound, ScheduleError
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import Entry, FireState, manual_key
from hermes_cron.record import Moment, Record
from hermes_cron.rules.wake import due_let_go, first_fence, let_go, next_from_completion, repeat_used_up, settled
from hermes_cron.run import Run, RunState
from hermes_cron.schedule import Schedule

_WAYS_OUT = {
    JobState.PAUSED: "Resume it first.",
    JobState.COMPLETED: "Edit its schedule to use it again: `in 1m` runs it once more.",
}


def create(record: Record, moment: Moment, *, job: Job) -> tuple[Record, Job]:
    """Keep a new job; its first fire is counted from now. An id whose job was removed is revived, fence and arm kept.

    Raises:
        JobExists: A job has this id.
        ScheduleError: It would never fire.
    """
    if record.known:
        raise JobExists(f"There is a job {job.id!r} already.", hint="Edit it, or choose another id.", field="id")
    fence = record.job.fence if record.job is not None else first_fence(moment)
    new = replace(job, created_at=moment.now, fence=fence, counted=0, failures_in_row=0, last_fire_at=None)
    if new.state is JobState.SCHEDULED:
        new = _with_next(new, moment)
    return _answer(settled(replace(record, job=new), moment))


def edit(record: Record, moment: Moment, *, job: Job, if_revision: int | None = None) -> tuple[Record, Job]:
    """Put `job`'s definition in the place of what is kept; a live run keeps what it was claimed with.

    The next fire is worked out anew, from now, only if schedule, zone, window or jitter changed; what was due,
    waiting or to be retried is then settled in the same step, but for manual runs, and a used-up `repeat` begins anew.

    Raises:
        JobNotFound: There is no such job.
        JobChanged: `if_revision` is not the revision that is kept.
        ScheduleError: It would never fire.
    """
    old = known_job(record)
    _check_revision(old, if_revision)
    revision = old.revision + 1
    new = replace(old, task=job.task, args=job.args, schedule=job.schedule, policy=job.policy, revision=revision)
    if not _moved(old, new):
        return _answer(settled(_recounted(replace(record, job=new), moment, old), moment))
    record = let_go(record, moment, scheduled=FireState.SKIPPED, manual=None, reason="edited")
    over = old.state is JobState.COMPLETED
    state = JobState.SCHEDULED if over else new.state
    new = replace(new, scheduled_in=revision, counted=0 if over or new.used_up else new.counted, state=state)
    if state is JobState.SCHEDULED:
        new = _with_next(new, moment)
    return _answer(settled(replace(record, job=new), moment))


def pause(record: Record, moment: Moment, *, reason: str = "") -> tuple[Record, Job]:
    """Let nothing of the job start from now on (I15); what is due or waiting is settled, a live run goes on.

    Raises:
        JobNotFound: There is no such job.
        JobStateError: It is completed.
    """
    job = known_job(record)
    if job.state is JobState.COMPLETED:
        raise JobStateError(f"Job {job.id!r} is completed: there is nothing to pause.")
    record = let_go(record, moment, scheduled=FireState.SKIPPED, manual=FireState.CANCELLED, reason="paused")
    record = _barred(record, _unbegun(record), "paused")
    paused = known_job(record).with_state(JobState.PAUSED, reason or job.reason)
    return _answer(settled(replace(record, job=paused), moment))


def resume(record: Record, moment: Moment) -> tuple[Record, Job]:
    """Let the job fire again, counted from now. Resuming a job that is not paused changes nothing.

    Raises:
        JobNotFound: There is no such job.
        JobStateError: It is completed, or its schedule has no fire left.
    """
    job = known_job(record)
    if job.state is JobState.COMPLETED:
        raise JobStateError(f"Job {job.id!r} is completed.", hint="Edit its schedule to use it again.")
    if job.state is not JobState.PAUSED:
        return record, job
    try:
        resumed = _with_next(replace(job, state=JobState.SCHEDULED, reason="", failures_in_row=0), moment)
    except ScheduleError as error:
        hint = "Edit its schedule to use it again."
        raise JobStateError(f"Job {job.id!r} has no fire left after now.", hint=hint) from error
    return _answer(settled(replace(record, job=resumed), moment))


def remove(record: Record, moment: Moment, *, if_revision: int | None = None) -> tuple[Record, None]:
    """Hide the job for good; what is due or waiting is cancelled, and its row goes once nothing of it is left.

    Raises:
        JobNotFound: There is no such job.
        JobChanged: `if_revision` is not the revision that is kept.
    """
    _check_revision(known_job(record), if_revision)
    record = let_go(record, moment, scheduled=FireState.CANCELLED, manual=FireState.CANCELLED, reason="removed")
    record = _barred(record, record.open_runs, "removed")
    record = replace(record, job=known_job(record).with_state(JobState.REMOVED))
    return settled(record, moment), None


def run_now(record: Record, moment: Moment, *, uuid: str) -> tuple[Record, Entry]:
    """Write a manual run: a waiting fire of its own key. It moves no schedule and counts for nothing.

    Raises:
        JobNotFound: There is no such job.
        JobStateError: The job is paused or completed, or everything is stopped.
    """
    job = known_job(record)
    if job.state is not JobState.SCHEDULED or moment.stopped:
        word = "stopped, as everything is" if moment.stopped else str(job.state)
        hint = "`hermes-cron start` ends that." if moment.stopped else _WAYS_OUT.get(job.state, "")
        raise JobStateError(f"Job {job.id!r} is {word}: it cannot be run now.", hint=hint)
    now = moment.now
    entry = Entry(job.id, manual_key(uuid), now, FireState.WAITING, manual=True, since=now, reason="manual")
    return settled(record.with_entry(entry), moment), entry


def cancel_run(record: Record, moment: Moment, *, run_id: str, reason: str = "cancelled") -> tuple[Record, Run]:
    """Ask the body of an open run to stop; its worker hears of it with the next renewal.

    Raises:
        RunNotFound: There is no such open run.
    """
    run = record.run(run_id)
    if run is None:
        raise RunNotFound(f"No open run {run_id!r}.", hint="`hermes-cron runs list` shows what there is.")
    asked = replace(run, cancel=run.cancel or reason)
    return record.with_run(asked), asked


def after_stop(record: Record, moment: Moment) -> tuple[Record, None]:
    """The end of a global stop: what came due meanwhile is `skipped`, a retry `failed`; what waited, waits on.

    To be taken for every job before the stop is lifted, so that nothing it is about to settle can start.
    """
    record = _barred(record, _unbegun(record), "stopped")
    if record.job is None or record.job.state is not JobState.SCHEDULED:
        return record, None
    record = due_let_go(record, moment, FireState.SKIPPED, "stopped")
    for entry in record.retries:
        if entry.not_before is not None and entry.not_before <= moment.now:
            record = record.with_entry(entry.settle(FireState.FAILED, "stopped", moment.now))
    return settled(next_from_completion(record, moment), moment), None


def reread(old: Schedule, text: str | None, timezone: str | None, anchor: str | None, now: datetime) -> Schedule:
    """The schedule with what is given of it in the place of what it had.

    Raises:
        ScheduleError: It cannot be so.
    """
    if text is None and timezone is None and anchor is None:
        return old
    if text is None:
        # An instant stays the instant it is; everything else is read anew in its zone.
        text = old.text if old.kind == "once" else old.source or old.text
    zone = old.timezone if timezone is None else timezone
    return Schedule.parse(text, timezone=zone, now=now, anchor=old.anchor if anchor is None else anchor)


def known_job(record: Record) -> Job:
    """The record's job, as far as people are concerned.

    Raises:
        JobNotFound: There is none, or it was removed.
    """
    if record.job is None or record.job.state is JobState.REMOVED:
        hint = "`hermes-cron jobs list` shows what there is."
        raise JobNotFound(f"There is no job {record.job_id!r}.", hint=hint, field="id")
    return record.job


def _check_revision(job: Job, if_revision: int | None) -> None:
    if if_revision is not None and if_revision != job.revision:
        raise JobChanged(f"Job {job.id!r} was changed meanwhile: it is at revision {job.revision}.")


def _with_next(job: Job, moment: Moment) -> Job:
    next_fire_at = job.first_fire(moment.now)
    if next_fire_at is None and job.policy.ends_at is not None:
        words = f"This schedule has no fire after now and before ends_at, {instant_text(job.policy.ends_at)}."
        raise ScheduleError(words, hint="Give a later ends_at, or none.", field="ends_at")
    if next_fire_at is None:
        raise ScheduleError("This schedule has no fire after now.", hint="Write a later instant.", field="schedule")
    if next_fire_at - moment.now > timedelta(days=365 * 100):
        raise ScheduleError("This schedule would fire first in over a hundred years.", field="schedule")
    return replace(job, next_fire_at=next_fire_at)


def _recounted(record: Record, moment: Moment, old: Job) -> Record:
    """The record after an edit that did not move the schedule, but may have changed how often it fires."""
    job = record.job
    if job is None or job.repeat == old.repeat:
        return record
    if job.used_up:
        return repeat_used_up(record, moment)
    if job.state is JobState.COMPLETED:
        return replace(record, job=_with_next(replace(job, state=JobState.SCHEDULED), moment))
    if old.used_up and job.state is JobState.SCHEDULED and not job.anchored_at_completion:
        return record.with_job(next_fire_at=job.first_fire(moment.now))
    return record


def _unbegun(record: Record) -> list[Run]:
    return [run for run in record.open_runs if run.state is RunState.CLAIMED]


def _barred(record: Record, runs: Iterable[Run], reason: str) -> Record:
    # I15: what was claimed before this may not begin after it, even if the job is soon open again.
    for run in runs:
        entry = record.entry(run.key)
        if entry is not None and entry.open:
            record = record.with_entry(replace(entry, reason=reason))
    return record


def _moved(old: Job, new: Job) -> bool:
    window = ("starts_at", "ends_at", "jitter")
    return old.schedule != new.schedule or any(getattr(old.policy, w) != getattr(new.policy, w) for w in window)


def _answer(record: Record) -> tuple[Record, Job]:
    assert record.job is not None  # noqa: S101 - every caller has just put it there.
    return record, record.job
