"""One job in a store that is a variable: applies pure steps as a store does, and holds them to the promises.

`World.apply` fails a test by itself when a step breaks I5, I6, I12 or I14, loses a due fire, or leaves a job asleep
that has something to do. The clock is a field that tests move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hermes_cron.fire import Fire
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import Entry, FireState, Keep
from hermes_cron.policy import Policy
from hermes_cron.record import Moment, Record
from hermes_cron.rules import change
from hermes_cron.rules.claim import Claim, Claimer, claim
from hermes_cron.rules.progress import Ended, Lost, begin, complete, died, hand_back, renew
from hermes_cron.rules.trim import to_trim
from hermes_cron.run import Run, RunState
from hermes_cron.schedule import Schedule

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LEASE = timedelta(seconds=30)
QUARTERLY = Schedule("every", "every 15m")


def job_of(schedule: Schedule = QUARTERLY, **policies: Any) -> Job:
    """The job "a" with these policies."""
    return Job("a", "app.task", schedule, policy=Policy(**policies))


class World:
    """One job id, its store and its time."""

    def __init__(self, job: Job | None = None, now: datetime = NOON) -> None:
        self.now = now
        self.stopped = False
        self.record = Record("a")
        self.ledger: dict[str, Entry] = {}
        self.trimmed: dict[str, Entry] = {}
        self.ended: dict[str, Run] = {}
        self.fence = 0
        self.counted: set[str] = set()
        if job is not None:
            self.apply(change.create, job=job)

    @property
    def job(self) -> Job:
        """The job, which must be there."""
        assert self.record.job is not None
        return self.record.job

    def apply(self, step: Callable[..., tuple[Record, Any]], **options: Any) -> Any:
        """Take one step, keep what it returns, and check it."""
        before = self.record
        after, answer = step(before, Moment(self.now, self.stopped), **options)
        self._keep(before, after)
        self._check_due(before)
        self._check()
        return answer

    def claim(self, fire_at: datetime | None = None) -> Claim:
        """Claim for a fire that names this instant, or for the sweep."""
        claimed: Claim = self.apply(claim, fire=Fire("a", fire_at), claimer=Claimer("w", LEASE))
        job = self.record.job
        if claimed.wait is None and job is not None and job.state is JobState.SCHEDULED and not self.stopped:
            assert job.next_fire_at is None or job.next_fire_at > self.now, "a claim left the next fire in the past"
            alive = [r for r in self.record.open_runs if r.lease_until is not None and r.lease_until > self.now]
            assert all(r.guard_at is not None and r.guard_at > self.now for r in alive), "a guard must look ahead"
        return claimed

    def claimed(self, fire_at: datetime | None = None) -> Run:
        """Claim, and be granted a run."""
        run = self.claim(fire_at).run
        assert run is not None
        return run

    def begun(self, fire_at: datetime | None = None) -> Run:
        """Claim and begin."""
        run = self.begin(self.claimed(fire_at))
        assert isinstance(run, Run)
        return run

    def begin(self, run: Run) -> Run | Lost:
        """Begin a run."""
        return self.apply(begin, run=run, lease=LEASE)  # type: ignore[no-any-return]  # what the step answers.

    def renew(self, run: Run) -> Run | Lost:
        """Renew a run's lease."""
        return self.apply(renew, run=run, lease=LEASE)  # type: ignore[no-any-return]  # what the step answers.

    def complete(self, run: Run, state: RunState = RunState.SUCCEEDED, error: str = "") -> Ended:
        """Write what became of a run."""
        return self.apply(complete, run=replace(run, state=state, error=error))  # type: ignore[no-any-return]

    def hand_back(self, run: Run) -> Ended:
        """Give a run back."""
        return self.apply(hand_back, run=run, reason="draining")  # type: ignore[no-any-return]

    def died(self, run: Run) -> Ended:
        """Tell that a run's process died under it."""
        return self.apply(died, run=run, reason="its process was killed by SIGSEGV")  # type: ignore[no-any-return]

    def ran(self, state: RunState = RunState.SUCCEEDED) -> Run:
        """Claim, begin and complete."""
        run = self.begun()
        self.complete(run, state)
        return run

    def trim(self, keep: Keep) -> list[Entry]:
        """Forget what the ledger need not keep; what went. From now on only `trimmed` knows it, which no step sees."""
        entries = [*self.ledger.values(), *self.record.entries]
        went = to_trim(entries, keep, self.now, gone=self.record.job is None)
        assert not any(entry.open for entry in went), "I12: what has no outcome must stay"
        self.trimmed |= {entry.key: self.ledger.pop(entry.key) for entry in went}
        return went

    def edit(self, job: Job | None = None, **policies: Any) -> None:
        """Edit the job's definition or policies."""
        job = job or self.job
        self.apply(change.edit, job=replace(job, policy=replace(job.policy, **policies)))

    def states(self) -> dict[str, str]:
        """Every fire by its key: time of day, or what stands before a manual key's colon."""
        both = {**self.ledger, **{entry.key: entry for entry in self.record.entries}}
        return {key.partition("+")[0].partition("T")[2] or key: str(e.state) for key, e in sorted(both.items())}

    def _keep(self, before: Record, after: Record) -> None:
        for entry in after.entries:
            assert entry.key not in self.ledger, f"I12: {entry.key} has its outcome already"
            assert entry.key not in self.trimmed, f"I12: {entry.key} had its outcome, which was trimmed"
            if not entry.open:
                self.ledger[entry.key] = entry
        for run in after.runs:
            assert run.id not in self.ended, f"I12: {run.id} has ended already"
            if not run.open:
                self.ended[run.id] = run
            if before.run(run.id) is None:
                assert run.fence > self.fence, "I5: a fence must rise"
                self.fence = run.fence
        assert {e.key for e in before.entries} <= {e.key for e in after.entries}, "a step dropped a fire"
        assert {r.id for r in before.runs} <= {r.id for r in after.runs}, "a step dropped a run"
        self._count(before, after)
        open_entries = tuple(entry for entry in after.entries if entry.open)
        self.record = replace(after, runs=after.open_runs, entries=open_entries)

    def _count(self, before: Record, after: Record) -> None:
        if after.job is None or before.job is None or after.job.counted < before.job.counted:
            self.counted.clear()
        elif after.job.counted > before.job.counted:
            assert after.job.repeat is None or after.job.counted <= after.job.repeat, "I14: one fire too many"
        for entry in after.entries:
            was = before.entry(entry.key)
            if entry.counted and (was is None or not was.counted):
                self.counted.add(entry.key)

    def _check_due(self, before: Record) -> None:
        """Every fire that was due and is no longer to come is in the ledger, or open, exactly once (I12)."""
        job, after = before.job, self.record.job
        if job is None or (after is not None and after.next_fire_at == job.next_fire_at):
            return
        entries = [e for e in (*self.ledger.values(), *self.record.entries) if not e.manual]
        for at in _due(job, self.now):
            found = [e for e in entries if e.fire_at <= at <= (e.last_at or e.fire_at)]
            assert len(found) == 1, f"I12: the fire of {at} has {len(found)} rows"

    def _check(self) -> None:
        record, job = self.record, self.record.job
        keys = [run.key for run in record.open_runs]
        running = [entry.key for entry in record.entries if entry.state is FireState.RUNNING]
        assert sorted(keys) == sorted(running), "I5: a running fire has exactly one open run"
        assert record.arm.wake_at == self._wake_at(), "the wake is the earliest reason to be awake"
        if job is None:
            assert not keys
            assert not running
            return
        assert job.counted == len(self.counted), "I14: a fire is counted once"
        if job.state is JobState.SCHEDULED:
            assert record.arm.wake_at is not None, "I11: a scheduled job always has a wake"
        if job.state is JobState.COMPLETED:
            assert job.used_up or job.fire_after(self.now) is None, "I14: a job with fires to come was completed"
        if job.state is not JobState.SCHEDULED:
            assert job.next_fire_at is None, "I14: only a scheduled job has a next fire"
            assert not record.waiting, "I15: nothing waits for a job that may not run"
            assert not record.retries, "I15: nothing is retried for a job that may not run"

    def _wake_at(self) -> datetime | None:
        record, job = self.record, self.record.job
        if job is None:
            return record.arm.wake_at
        reasons = [run.guard_at for run in record.open_runs]
        if job.state is JobState.SCHEDULED:
            reasons += [job.next_fire_at, *(entry.not_before for entry in record.retries)]
            free = [e for e in record.waiting if not keys_of(record) or self._beside(e)]
            reasons += [entry.since or entry.fire_at for entry in free]
        return min((at for at in reasons if at is not None), default=None)

    def _beside(self, entry: Entry) -> bool:
        return self.job.policy.overlap == "allow" and entry.reason != "backlog"


def keys_of(record: Record) -> list[str]:
    """The keys of what runs."""
    return [run.key for run in record.open_runs]


def _due(job: Job, now: datetime) -> Iterator[datetime]:
    at = job.next_fire_at
    while at is not None and at <= now:
        yield at
        at = None if job.anchored_at_completion else job.fire_after(at)
