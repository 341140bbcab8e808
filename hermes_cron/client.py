"""`Client`: the programmatic door to jobs. What it changes is armed, as far as NAS answers, before it returns."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from hermes_cron.app import Declared
from hermes_cron.auditing import audit_store
from hermes_cron.errors import BrokerError, JobChanged, JobExists, JobNotFound, RunNotFound
from hermes_cron.fire import Fire
from hermes_cron.interfaces import CronScheduler, Reconciled, Step, Store
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import Entry, FireState, Place
from hermes_cron.output import Output
from hermes_cron.policy import Policy
from hermes_cron.record import Moment, Record
from hermes_cron.rules import change
from hermes_cron.rules.audit import Audit
from hermes_cron.run import Run
from hermes_cron.schedule import Schedule
from hermes_cron.task import Task, find_task

MOST_FIRES = 10_000_000
"""How many rows of the ledger are asked for where all are meant."""

_log = logging.getLogger("hermes_cron.client")


@dataclass(frozen=True, slots=True)
class Changed:
    """A change that is stored. `armed` tells whether NAS holds what the job now needs; else it stays wanted."""

    job: Job
    armed: bool = True
    fire: Entry | None = None


def upcoming(job: Job, count: int) -> list[datetime]:
    """The job's next `count` fires, should nobody change it: one only, where the next but one hangs on a run's end."""
    left = count if job.repeat is None else min(count, job.repeat - job.counted)
    at, fires = job.next_fire_at, list[datetime]()
    while at is not None and len(fires) < left:
        fires.append(at)
        at = None if job.anchored_at_completion else job.fire_after(at)
    return fires


class Client:
    """Add, look at, change and run jobs; from any process that reaches the store.

    `bell` announces a job to live workers where the broker is shared; None where it is not. `tasks` are those that
    jobs may name.
    """

    def __init__(
        self, store: Store, scheduler: CronScheduler, tasks: Mapping[str, Task], *,
        bell: Callable[[Fire], None] | None = None, timezone: str = "UTC",
    ) -> None:  # fmt: skip
        self._store = store
        self._scheduler = scheduler
        self._tasks = tasks
        self._bell = bell
        self._timezone = timezone
        scheduler.attach(store)

    def add(
        self, id: str, schedule: str, task: str, *, args: Mapping[str, Any] | None = None,  # noqa: A002 - as wire and CLI.
        timezone: str | None = None, anchor: str = "fire", policy: Mapping[str, Any] | None = None, origin: str = "",
        paused: str = "",
    ) -> Changed:  # fmt: skip
        """Add a job; `origin` is kept with it, to tell a repeated request from another one; `paused` says why it is.

        Raises:
            JobExists: There is one with this id.
            ScheduleError, JobInvalid, TaskNotFound, TaskInvalid: It cannot be one; `field` says why.
        """
        declared = Declared(id, task, schedule, timezone, anchor, {} if args is None else args, policy or {})
        state = JobState.PAUSED if paused else JobState.SCHEDULED
        job = replace(self._job(declared), origin=origin, state=state, reason=paused)
        return self._armed(self._store.change(id, partial(change.create, job=job)))

    def get(self, job_id: str) -> Job:
        """The job with this id.

        Raises:
            JobNotFound: There is none.
        """
        return change.known_job(self._store.read(job_id) or Record(job_id))

    def record(self, job_id: str) -> Record:
        """The job with its arm, its open runs and its unsettled fires.

        Raises:
            JobNotFound: There is none.
        """
        self.get(job_id)
        return self._store.read(job_id) or Record(job_id)

    def list(self) -> Sequence[Record]:
        """All jobs, by id, each with its arm and open runs."""
        return self._store.jobs()

    def update(
        self, job_id: str, *, schedule: str | None = None, timezone: str | None = None, task: str | None = None,
        args: Mapping[str, Any] | None = None, anchor: str | None = None,
        policy: Mapping[str, Any] | None = None, if_revision: int | None = None,
    ) -> Changed:  # fmt: skip
        """Change what is given, and nothing else; a policy given as None goes back to its default.

        Raises:
            JobNotFound: There is no such job.
            JobChanged: It is not at `if_revision` any more.
            ScheduleError, JobInvalid, TaskNotFound, TaskInvalid: It cannot be so; `field` says why.
        """

        def step(record: Record, moment: Moment) -> tuple[Record, Job]:
            old = change.known_job(record)
            wanted = {**old.policy.to_dict(), **(policy or {})}
            new = replace(
                old, task=old.task if task is None else task, args=old.args if args is None else args,
                schedule=change.reread(old.schedule, schedule, timezone, anchor, moment.now),
                policy=Policy.from_dict({name: value for name, value in wanted.items() if value is not None}),
            )  # fmt: skip
            if task is not None or args is not None:
                self._check(new)
            return change.edit(record, moment, job=new, if_revision=if_revision)

        return self._armed(self._store.change(job_id, step))

    def pause(self, job_id: str, reason: str = "") -> Changed:
        """Let nothing of the job start from now on.

        Raises:
            JobNotFound: There is no such job.
            JobStateError: It is completed.
        """
        return self._armed(self._store.change(job_id, partial(change.pause, reason=reason)))

    def resume(self, job_id: str) -> Changed:
        """Let the job fire again, counted from now.

        Raises:
            JobNotFound: There is no such job.
            JobStateError: It is completed, or has no fire left.
        """
        return self._armed(self._store.change(job_id, change.resume))

    def remove(self, job_id: str, *, if_revision: int | None = None) -> Changed:
        """Remove the job; a live run of it goes on to its end.

        Raises:
            JobNotFound: There is no such job.
            JobChanged: It is not at `if_revision` any more.
        """
        job = self.get(job_id)
        self._store.change(job_id, partial(change.remove, if_revision=if_revision))
        return self._armed(job)

    def run(self, job_id: str) -> Changed:
        """Run the job once, now, beside its schedule; `fire` is its entry in the ledger.

        Raises:
            JobNotFound: There is no such job.
            JobStateError: It is paused, completed, or everything is stopped.
        """
        step: Step[Entry] = partial(change.run_now, uuid=uuid.uuid4().hex)
        entry = self._store.change(job_id, step)
        changed = replace(self._armed(self.get(job_id)), fire=entry)
        self._ring(Fire(job_id, kind="manual"))
        return changed

    def runs(self, job_id: str | None = None, limit: int = 100) -> Sequence[Run]:
        """Runs, open and ended, the newest first."""
        return self._store.runs(job_id, limit=limit)

    def find_run(self, run_id: str) -> Run:
        """The run with this id.

        Raises:
            RunNotFound: There is none.
        """
        found = self._store.runs(run_id=run_id, limit=1)
        if not found:
            raise RunNotFound(f"There is no run {run_id[:300]!r}.", hint="`hermes-cron runs list` shows what there is.")
        return found[0]

    def output(self, run_id: str) -> Output | None:
        """What a run said; None where nothing is kept of it: it is open, said nothing, or is too long ago."""
        return self._store.output(run_id)

    def find_fire(self, job_id: str, key: str) -> Entry | None:
        """The fire with this key in the ledger, if it is still there."""
        return self._store.fire(job_id, key)

    def fires(
        self, job_id: str | None = None, limit: int = 100, states: Collection[FireState] = (),
        before: Place | None = None,
    ) -> Sequence[Entry]:  # fmt: skip
        """The ledger, the newest first: of these states only, if any are given, and what stands behind `before`."""
        return self._store.fires(job_id, limit=limit, states=states, before=before)

    def runs_of(self, entries: Collection[Entry]) -> Sequence[Run]:
        """All runs of these fires, the newest of each job first."""
        return sorted(self._store.runs_of(entries), key=lambda run: run.fence, reverse=True)

    def now(self) -> datetime:
        """The store's clock, which all who use it share."""
        return self._store.now()

    def stopped(self) -> bool:
        """Whether everything is stopped."""
        return self._store.stopped()

    def stop(self) -> bool:
        """Stop everything at every door: once this returns, nothing starts (I15). Whether no alarm is left wanted."""
        self._store.set_stopped(True)
        return not self._scheduler.on_jobs_changed(())

    def start(self) -> bool:
        """End the stop: what came due meanwhile is skipped, all else armed anew. Whether no alarm is left wanted."""
        for record in self._store.arms():
            self._store.change(record.job_id, change.after_stop)
        self._store.set_stopped(False)
        return not self._scheduler.reconcile(full=True).wanted

    @property
    def timezone(self) -> str:
        """The zone of schedules that name none."""
        return self._timezone

    @property
    def confirms(self) -> bool:
        """Whether alarms are held outside, by somebody who confirms them."""
        return self._scheduler.confirms

    def arms(self) -> Sequence[Record]:
        """All that has an arm, by id: jobs, removed ones that are not yet disarmed, and sentinels."""
        return self._store.arms()

    def held(self) -> Mapping[str, datetime | None] | None:
        """What is armed outside, by id; None where nothing outside holds alarms.

        Raises:
            NasError: It cannot be asked.
        """
        return self._scheduler.held()

    def reconcile(self) -> Reconciled:
        """Make what is armed outside what the store wants, and cancel there what it does not know."""
        return self._scheduler.reconcile(full=True, cancel_orphans=True)

    def cancel(self, run_id: str, reason: str = "cancelled by hand") -> Run:
        """Ask the body of a live run to stop; its worker hears of it when it next renews the lease.

        Raises:
            RunNotFound: There is no such run, or it has ended.
        """
        run = self.find_run(run_id)
        return self._store.change(run.job_id, partial(change.cancel_run, run_id=run_id, reason=reason))

    def retry(self, run_id: str) -> Changed:
        """Run the job of a run once more, now: a manual run, with the arguments that the job has today.

        Raises:
            RunNotFound: There is no such run.
            JobNotFound, JobStateError: Its job is gone, paused or completed, or everything is stopped.
        """
        return self.run(self.find_run(run_id).job_id)

    def audit(self, since: datetime, until: datetime) -> Audit:
        """Recompute what was due from `since` to `until`, and hold the ledger against it (I12)."""
        return audit_store(self._store, since, until)

    def arm(self, job_ids: Collection[str]) -> Collection[str]:
        """Arm or disarm what changes of these jobs made wanted; the ids that are still wanted."""
        return self._scheduler.on_jobs_changed(job_ids)

    def declare(self, jobs: Iterable[Declared]) -> Sequence[str]:
        """Put the jobs that the code declares into the store, where they are new or differ; the ids of those.

        The code wins over what was edited elsewhere; a pause stays. They are armed by the next reconcile, or by `arm`.
        """
        return [declared.id for declared in jobs if self._declare(declared)]

    def close(self) -> None:
        """Give back the store's connections. Closing twice is closing once."""
        self._store.close()

    def _declare(self, declared: Declared) -> bool:
        try:
            return self._differed(declared)
        except (JobExists, JobChanged):
            # Another process, as a rule one with the same code that starts now too, was quicker.
            return self._differed(declared)

    def _differed(self, declared: Declared) -> bool:
        try:
            old = self.get(declared.id)
        except JobNotFound:
            self._store.change(declared.id, partial(change.create, job=self._job(declared)))
            return True
        same = (old.schedule.source, old.schedule.timezone, old.schedule.anchor) == (
            " ".join(declared.schedule.split()), self._zone(declared), declared.anchor,
        )  # fmt: skip
        policy = Policy.from_dict(declared.policy)
        # As they are once they were kept: a tuple is a list there.
        args = json.loads(json.dumps(dict(declared.args)))
        if same and (old.task, dict(old.args), old.policy) == (declared.task, args, policy):
            return False
        # What says the same is kept: read anew, `in 30m` would move, and an instant that has passed be refused.
        new = self._job(declared, old.schedule if same else None)
        self._store.change(declared.id, partial(change.edit, job=new, if_revision=old.revision))
        return True

    def _job(self, declared: Declared, schedule: Schedule | None = None) -> Job:
        schedule = schedule or Schedule.parse(
            declared.schedule, timezone=self._zone(declared), now=self._store.now(), anchor=declared.anchor
        )
        policy = Policy.from_dict(declared.policy)
        job = Job(declared.id, declared.task, schedule, declared.args, policy)
        self._check(job)
        return job

    def _zone(self, declared: Declared) -> str:
        return self._timezone if declared.timezone is None else declared.timezone

    def _check(self, job: Job) -> None:
        find_task(self._tasks, job.task).check(job.args)

    def _armed(self, job: Job) -> Changed:
        return Changed(job, armed=job.id not in self._scheduler.on_jobs_changed([job.id]))

    def _ring(self, fire: Fire) -> None:
        if self._bell is None:
            return
        try:
            self._bell(fire)
        except BrokerError as error:
            _log.warning("the workers could not be told of %s (%s); they find it by themselves", fire.job_id, error)
