"""`Chapter`: from when on what was due of a job. The ledger can be held against a job's chapters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hermes_cron.job import Job, JobState
from hermes_cron.policy import Policy
from hermes_cron.schedule import Schedule

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Chapter:
    """From `at` until the job's next chapter, `next_fire_at` was due and what its schedule gives after that.

    `next_fire_at` is None where nothing was: the job was paused, completed or removed, or its next fire is counted
    from the end of a run.
    """

    job_id: str
    at: datetime
    state: JobState
    next_fire_at: datetime | None
    schedule: Schedule
    policy: Policy

    def due_between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Its fires from `start` to `end`, both included; what lies before costs nothing."""
        # How many count for `repeat` is told by the chapter that ends this one.
        policy = replace(self.policy, repeat=None)
        job = Job(self.job_id, "audit", self.schedule, policy=policy, next_fire_at=self.next_fire_at)
        at = self.next_fire_at
        if at is not None and at < start:
            passed = job.last_due(start - _MICROSECOND)
            at = None if passed is None or job.anchored_at_completion else job.fire_after(passed)
        while at is not None and at <= end:
            yield at
            at = None if job.anchored_at_completion else job.fire_after(at)


def next_chapter(old: Job | None, new: Job | None, now: datetime) -> Chapter | None:
    """The chapter that a change of a job begins; None where what is due goes on as it was."""
    if new is None and old is not None:
        # Nothing kept it: a removed job is gone in the step that removes it.
        new = old.with_state(JobState.REMOVED)
    if new is None or (old is not None and _course(old) == _course(new)):
        return None
    return Chapter(new.id, now, new.state, new.next_fire_at, new.schedule, new.policy)


def _course(job: Job) -> tuple[object, ...]:
    # A claim moves `next_fire_at` along the schedule, which is no news; that there is none any more is.
    moved = job.next_fire_at if job.anchored_at_completion else job.next_fire_at is None
    policy = job.policy
    return (job.state, job.scheduled_in, job.schedule, policy.starts_at, policy.ends_at, policy.jitter, moved)
