"""What one fire does to its job when all goes well: driven once, on a stage of its own, by the real steps.

The steps are pure, so the same fire at another time, with the same distance to the next, does the same. That is
checked and not assumed: a trail is kept only where the record that the steps leave is the one before, moved on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hermes_cron.arm import Arm
from hermes_cron.clock import EPOCH
from hermes_cron.fire import Fire
from hermes_cron.job import JobState
from hermes_cron.ledger import FireState
from hermes_cron.providers.chronos.ladder import Ladder
from hermes_cron.record import Record
from hermes_cron.rules.claim import Claimer
from hermes_cron.run import RunState
from hermes_cron.virtual.memory import MemoryStore
from hermes_cron.virtual.scripts import Body, Call, Scripts


@dataclass(frozen=True, slots=True)
class Trail:
    """What a fire that goes well leaves behind: calls to NAS, and the next fire, so long after this one."""

    calls: int
    following: timedelta


def at_rest(record: Record) -> bool:
    """Whether nothing is under way of a job, and its alarm stands for its next fire."""
    job, arm = record.job, record.arm
    if job is None or record.runs or record.entries or job.state is not JobState.SCHEDULED or arm.wanted:
        return False
    return job.next_fire_at is not None and arm == _armed(job.next_fire_at)


def moved_on(record: Record, last: datetime, following: datetime, fires: int) -> Record:
    """A record at rest after so many more fires that went well, the last of them and the next at these instants."""
    job = record.job
    if job is None:
        return record
    moved = replace(
        job, next_fire_at=following, last_fire_at=last, fence=job.fence + fires, counted=job.counted + fires,
        failures_in_row=0,
    )  # fmt: skip
    return replace(record, job=moved, arm=_armed(following))


def rehearse(record: Record, late: timedelta, claimer: Claimer, run_s: float) -> Trail | None:
    """Drive the next fire of a record at rest, so late, with a body of `run_s`; None where it is unlike others."""
    job = record.job
    if job is None or job.next_fire_at is None or job.repeat is not None:
        return None
    if job.anchored_at_completion and (job.policy.starts_at or job.policy.ends_at):
        return None  # Its next fire hangs on more than on how long after this one it comes.
    stage = _Rehearsal(record, late, claimer, run_s)
    after = stage.drive()
    following = after.job.next_fire_at if after is not None and after.job is not None else None
    if following is None or following <= stage.now + timedelta(seconds=run_s):
        return None
    entries, runs = stage.store.hand_over()
    alone = [entry.state for entry in entries] == [FireState.SUCCEEDED] and len(runs) == 1
    if not alone or after != moved_on(record, job.next_fire_at, following, 1):
        return None
    return Trail(stage.calls, following - job.next_fire_at)


class _Rehearsal:
    def __init__(self, record: Record, late: timedelta, claimer: Claimer, run_s: float) -> None:
        at = record.arm.wake_at or EPOCH
        self.now = at + late
        self.calls = 0
        self.store = MemoryStore(lambda: self.now)
        self.store.change(record.job_id, lambda kept, moment: (record, None))
        self._run = timedelta(seconds=run_s)
        self._fire = Fire(record.job_id, at)
        self._scripts = Scripts(self.store, claimer, Ladder(()), lambda: 0.0, _nothing, _no_bell)

    def drive(self) -> Record | None:
        """The record that the fire leaves."""
        script = self._scripts.see_through(self._fire, _nothing)
        given: object = None
        while True:
            try:
                found = script.send(given)
            except StopIteration:
                return self.store.read(self._fire.job_id)
            given = None
            self.calls += isinstance(found, Call)
            if isinstance(found, Body):
                timeout = found.run.timeout
                if timeout is not None and timeout < self._run.total_seconds():
                    return None
                self.now += self._run
                given = replace(found.run, state=RunState.SUCCEEDED), False


def _armed(at: datetime) -> Arm:
    return Arm(wake_at=at, armed_at=at, armed_for=at)


def _nothing() -> None:
    """Nobody is to be told."""


def _no_bell(fire: Fire) -> None:
    """Nobody is to be told."""
