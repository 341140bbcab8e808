"""A store that holds every change to the promises: whatever breaks one fails the test there and then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from hermes_cron.clock import Clock
from hermes_cron.errors import StoreError
from hermes_cron.job import JobState
from hermes_cron.ledger import FireState
from hermes_cron.record import Moment, Record
from hermes_cron.rules.claim import TAKEN_OVER, Claim
from hermes_cron.run import Run, RunState
from hermes_cron.virtual.memory import MemoryStore


class WatchedStore(MemoryStore):
    """`told` is called with "claim" when one was decided, and with "arm" when one is asked for, to see who does it."""

    def __init__(self, clock: Clock, told: Callable[[str], None]) -> None:
        super().__init__(clock)
        self._told = told
        self.fences: dict[str, int] = {}
        self.counted: defaultdict[str, set[str]] = defaultdict(set)
        self.barred: set[str] = set()
        self.unanswered: defaultdict[str, set[str]] = defaultdict(set)

    def change(self, job_id: str, step: Any) -> Any:
        taken: list[tuple[Record, Record, Moment]] = []

        def watched(record: Record, moment: Moment) -> tuple[Record, Any]:
            after, answer = step(record, moment)
            taken.append((record, after, moment))
            return after, answer

        try:
            answer = super().change(job_id, watched)
        except StoreError as error:
            raise AssertionError(f"I12: {error}") from error
        before, after, moment = taken[-1]
        self._check_runs(before, after, moment)
        self._check_counted(before, after)
        self._check_step(getattr(step, "keywords", {}), before, after, moment, answer)
        return answer

    def set_stopped(self, stopped: bool) -> None:
        super().set_stopped(stopped)
        if stopped:
            self._bar(*self.arms())

    def bar(self, job_id: str) -> None:
        """A pause or a removal returned: what is claimed and not begun must not begin any more."""
        self._bar(self.read(job_id) or Record(job_id))

    def _bar(self, *records: Record) -> None:
        self.barred |= {run.id for record in records for run in record.open_runs if run.state is RunState.CLAIMED}

    def _check_runs(self, before: Record, after: Record, moment: Moment) -> None:
        job_id = after.job_id
        fresh = [run for run in after.open_runs if before.run(run.id) is None]
        for run in fresh:
            assert run.fence > self.fences.get(job_id, 0), "I5: a fence must rise"
            self.fences[job_id] = run.fence
        open_keys = sorted(run.key for run in after.open_runs)
        assert len(set(open_keys)) == len(open_keys), "I5: a fire has two open runs"
        running = sorted(entry.key for entry in after.entries if entry.state is FireState.RUNNING)
        assert open_keys == running, "I5: what runs has exactly one open run"
        if fresh and len(open_keys) > 1:
            assert after.job is not None
            assert after.job.policy.overlap == "allow", "I5: a job has two open runs"
        for run in after.runs:
            held = before.run(run.id)
            if held is not None and run.error == TAKEN_OVER:
                assert held.lease_until is not None
                assert held.lease_until <= moment.now, "I5: a live run was taken over"
        assert {e.key for e in before.entries} <= {e.key for e in after.entries}, "I12: a step dropped a fire"

    def _check_counted(self, before: Record, after: Record) -> None:
        job, known = after.job, self.counted[after.job_id]
        if job is None or before.job is None or job.counted < before.job.counted:
            known.clear()
        known |= {entry.key for entry in after.entries if entry.counted and before.entry(entry.key) != entry}
        if job is not None and before.job is not None:
            assert job.counted <= max(job.repeat or job.counted, before.job.counted), "I14: one fire too many"
            assert job.counted <= len(known) or not known, "I14: a fire was counted twice"

    def _check_step(self, given: Mapping[str, Any], before: Record, after: Record, moment: Moment, answer: Any) -> None:
        names, job_id = set(given), after.job_id
        if isinstance(answer, Claim) and answer.wait is None:
            self._told("claim")
            self._check_claim(answer, after, moment)
        elif names == {"token", "horizon"}:
            self._told("arm")
            self.unanswered[job_id].clear()
        elif names == {"order"} and not answer and not after.arm.wanted:
            assert after.arm.wake_at == given["order"].wake_at, "I11: an arm was confirmed for another wake"
        elif "run" in names:
            self._check_write(given["run"], before, after, moment, answer)

    def _check_claim(self, answer: Claim, after: Record, moment: Moment) -> None:
        job = after.job
        if job is not None and job.state is JobState.SCHEDULED and not moment.stopped:
            assert job.next_fire_at is None or job.next_fire_at > moment.now, "a claim left the next fire in the past"
        if answer.run is not None:
            assert job is not None
            assert job.state is JobState.SCHEDULED, "I15: only a scheduled job is claimed"
            assert not moment.stopped, "I15: nothing is claimed while everything is stopped"
            self.unanswered[after.job_id].add(answer.run.id)

    def _check_write(self, run: Run, before: Record, after: Record, moment: Moment, answer: Any) -> None:
        held = before.run(run.id)
        if held is None or held.fence != run.fence:
            assert after == before, "I6: a stale worker wrote something"
        elif isinstance(answer, Run) and held.state is RunState.CLAIMED and answer.state is RunState.STARTED:
            assert run.id not in self.barred, "I15: it began after the pause, the removal or the stop returned"
            assert not moment.stopped, "I15: it began while everything is stopped"
            assert after.job is not None
            assert after.job.state is JobState.SCHEDULED, "I15: it began though its job may not run"
            assert run.id not in self.unanswered[after.job_id], "I11: a run began before its fire was answered"
