"""`Glide`: skip ahead. Fires that go like one that was rehearsed are counted, and not driven.

It begins where nothing is under way, and ends before anything else may happen: an outage, a crash, a lost message, a
fire unlike others. The ladder is moved by its own code all the way.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

from hermes_cron.arm import Order
from hermes_cron.interfaces import Store
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import FireState
from hermes_cron.providers.chronos import steps
from hermes_cron.record import Moment, Record
from hermes_cron.rules.wake import guard_after
from hermes_cron.schedule import Schedule
from hermes_cron.simulation.rehearsal import Trail, at_rest, moved_on, rehearse
from hermes_cron.simulation.stage import Stage
from hermes_cron.simulation.tally import Line
from hermes_cron.virtual.agent import LEASE, TEND

_NEVER = datetime.max.replace(tzinfo=UTC)
_AHEAD = 256
_SHORTEST_RUNG_S = 300.0
_TOKEN = "glide"  # noqa: S105 - it names who leases an arm, and opens nothing.


@dataclass(slots=True)
class _Mover:
    """One job on its way: the record that it began with, its next fire, its last, and how many it has had."""

    record: Record
    job: Job
    at: datetime
    line: Line
    last: datetime
    fires: int = 0

    def now(self) -> Record:
        return moved_on(self.record, self.last, self.at, self.fires) if self.fires else self.record


class Calendars:
    """The fires of schedules, each worked out once, however many jobs share it."""

    def __init__(self) -> None:
        self._fires: dict[Schedule, list[datetime]] = {}

    def after(self, job: Job, at: datetime) -> datetime | None:
        """`job.fire_after(at)`, where `at` is a fire of it."""
        policy = job.policy
        if job.schedule.kind != "cron" or policy.jitter or policy.starts_at or policy.ends_at:
            return job.fire_after(at)
        fires = self._fires.setdefault(job.schedule, [at])
        if at < fires[0]:
            return job.fire_after(at)
        while fires[-1] <= at:
            more = job.schedule.upcoming(fires[-1], _AHEAD)
            if not more:
                return None
            fires += more
        return fires[bisect_right(fires, at)]


class Glide:
    """Moves a stage on as far as all goes well; to be called whenever it may be at rest."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._calendars = Calendars()
        self._trails: dict[tuple[str, timedelta | None, timedelta], Trail | None] = {}
        plan = stage.plan
        self._span = timedelta(seconds=plan.cold_s + plan.run_s + 5)
        self._possible = plan.glides and min(plan.rungs, default=_SHORTEST_RUNG_S) >= _SHORTEST_RUNG_S

    def __call__(self) -> None:
        """Glide, if it can be."""
        stage = self._stage
        limit, first = stage.next_outage() - self._span, stage.nas.next_due()
        if not self._possible or first is None or first >= limit or not stage.at_rest():
            return
        movers = {}
        for record in stage.store.jobs():
            at, held = record.arm.wake_at, stage.nas.held.get(record.job_id)
            # An alarm that NAS has spent, though no claim heard of it, wakes nobody any more.
            if record.job is not None and at is not None and at_rest(record) and held is not None and held.at == at:
                movers[record.job_id] = _Mover(record, record.job, at, stage.tally.lines[record.job_id], at)
            elif record.job is not None and record.job.state is JobState.SCHEDULED:
                return
        # A rung that a crash left behind wakes the agent before its jobs do.
        beyond = min((mover.at for mover in movers.values()), default=first) + self._span
        behind = any(alarm.due < beyond for job_id, alarm in stage.nas.held.items() if job_id not in movers)
        if movers and not behind and not stage.store.stopped():
            _Gliding(stage, movers, self._trail, limit).glide()

    def _trail(self, mover: _Mover, late: timedelta) -> Trail | None:
        """What the next fire of this job does, so late; None where it has to be driven."""
        following = None
        if not mover.job.anchored_at_completion:
            following = self._calendars.after(mover.job, mover.at)
            if following is None:
                return None
        key = (mover.record.job_id, None if following is None else following - mover.at, late)
        if key not in self._trails:
            stage = self._stage
            self._trails[key] = rehearse(mover.now(), late, stage.scripts.claimer, stage.plan.run_s)
        return self._trails[key]


class _Gliding:
    """One glide: fires, ends of bodies and moves of the ladder, in the order in which they come."""

    def __init__(
        self, stage: Stage, movers: dict[str, _Mover], trail: Callable[[_Mover, timedelta], Trail | None],
        limit: datetime,
    ) -> None:  # fmt: skip
        self._stage, self._movers, self._trail, self._limit = stage, movers, trail, limit
        self._fires = [(mover.at, job_id) for job_id, mover in movers.items()]
        heapq.heapify(self._fires)
        self._ends: list[tuple[datetime, str]] = []
        self._guards: dict[str, datetime] = {}
        self._up_at, self._quiet, self._tend_at = stage.up_at, stage.quiet_since, stage.tend_at
        self._rungs = _Rungs(stage)
        self._run = timedelta(seconds=stage.plan.run_s)
        self._cold = timedelta(seconds=stage.plan.cold_s)
        self._idle = timedelta(seconds=stage.plan.idle_s)
        self._span = self._run + self._cold + TEND

    def glide(self) -> None:
        """Move on until something has to be driven, and leave the stage as it is then."""
        going = True
        while going:
            at = self._next()
            going = self._between(at) or (at < self._limit and self._fire(at))
        while self._ends:
            self._end()
        at = self._next()
        while self._between(at):
            pass
        self._settle(at)

    def _next(self) -> datetime:
        return self._fires[0][0] if self._fires else _NEVER

    def _between(self, until: datetime) -> bool:
        """What comes first, the end of a body or a move of the ladder; False when neither comes before that."""
        end = self._ends[0][0] if self._ends else until
        if self._tend_at is not None and self._tend_at < until and self._tend_at <= end:
            self._tend(self._tend_at)
            return True
        if self._ends and end <= until:
            self._end()
            return True
        return False

    def _fire(self, at: datetime) -> bool:
        """Count the next fire; False where it must be driven."""
        stage, mover = self._stage, self._movers[self._fires[0][1]]
        cold = self._up_at is None or at > self._quiet + 2 * self._idle
        up_at = at + self._cold if cold or self._up_at is None else self._up_at
        late = max(up_at - at, timedelta(0))
        trail = self._trail(mover, late)
        if trail is None or self._struck(at):
            return False
        stage.crashes.left -= 1
        stage.losses.left -= 1
        if cold:
            self._woken(up_at)
        stage.tally.arms += trail.calls
        mover.line.count(FireState.SUCCEEDED)
        mover.line.begin(late.total_seconds())
        mover.fires, mover.last, mover.at = mover.fires + 1, at, at + trail.following
        heapq.heappop(self._fires)
        if not mover.job.anchored_at_completion:
            heapq.heappush(self._fires, (mover.at, mover.record.job_id))
        begun = at + late
        self._guards[mover.record.job_id] = guard_after(begun, mover.job.policy.timeout, LEASE)
        heapq.heappush(self._ends, (begun + self._run, mover.record.job_id))
        self._did(begun)
        return True

    def _struck(self, at: datetime) -> bool:
        """Whether chance may strike while the body of this fire runs: a crash takes all of them along."""
        left = min(self._stage.crashes.left, self._stage.losses.left)
        if left > 2 * len(self._fires):
            return False
        return left < 2 * sum(1 for fire, _ in self._fires if fire <= at + self._span)

    def _woken(self, up_at: datetime) -> None:
        tally = self._stage.tally
        if self._up_at is not None:
            tally.awake_s += (self._quiet + self._idle - self._up_at).total_seconds()
        tally.cold_starts += 1
        tally.awake_s += self._stage.plan.cold_s
        tally.lists += 1
        self._up_at = up_at

    def _end(self) -> None:
        end, job_id = heapq.heappop(self._ends)
        del self._guards[job_id]
        mover = self._movers[job_id]
        if mover.job.anchored_at_completion:
            heapq.heappush(self._fires, (mover.at, job_id))
        self._did(end)

    def _did(self, at: datetime) -> None:
        self._quiet = max(self._quiet, at)
        if self._tend_at is None:
            self._tend_at = at + TEND

    def _tend(self, at: datetime) -> None:
        self._rungs.push(at, min([self._next(), *self._guards.values()]))
        self._quiet, self._tend_at = max(self._quiet, at), None

    def _settle(self, until: datetime) -> None:
        """Leave the stage as the fires that were counted would have left it."""
        stage = self._stage
        moved = {job_id: mover for job_id, mover in self._movers.items() if mover.fires}
        if not moved:
            return
        stage.now = max(stage.now, min(until, self._quiet))
        for job_id, mover in moved.items():
            _put(stage, job_id, mover.now())
        self._rungs.settle()
        # Whether it sleeps by now, it decides itself.
        stage.move_on(stage.now, self._up_at, self._quiet, self._tend_at)


class _Rungs:
    """The sentinels' records, moved by the real ladder; as much of a store as that asks for."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._records = {record.job_id: record for record in stage.store.arms() if record.job is None}
        self._now = stage.now
        self._wake: datetime | None = None
        self._moved: set[str] = set()
        self._calls = 0

    def push(self, now: datetime, wake: datetime) -> None:
        """Move the ladder on for this earliest wake, and arm what that makes wanted."""
        if wake == self._wake:
            return  # The same question again, to which the answer was that nothing need be moved any further.
        self._now, self._wake = now, wake
        for job_id in self._stage.ladder.push(cast("Store", self), None):
            taken = self.change(job_id, partial(steps.take, token=_TOKEN, horizon=None))
            if taken.order is not None:
                self.change(job_id, partial(steps.succeeded, order=taken.order))
                self._calls += 1
                self._moved.add(job_id)

    def settle(self) -> None:
        """Write them back, and count what they took."""
        self._stage.tally.rungs += self._calls
        for job_id in self._moved:
            _put(self._stage, job_id, self._records[job_id])

    def next_wake(self) -> datetime | None:
        """The earliest wake that was given."""
        return self._wake

    def now(self) -> datetime:
        """The instant that was given."""
        return self._now

    def read(self, job_id: str) -> Record | None:
        """A sentinel."""
        return self._records.get(job_id)

    def change(self, job_id: str, step: Any) -> Any:
        """Take one step."""
        record, answer = step(self._records.get(job_id) or Record(job_id), Moment(self._now))
        self._records[job_id] = record
        return answer


def _put(stage: Stage, job_id: str, record: Record) -> None:
    stage.store.change(job_id, lambda kept, moment: (record, None))
    calls = stage.nas.calls
    stage.nas.obey(Order(job_id, _TOKEN, record.arm.wake_at, record.arm.armed_at))
    stage.nas.calls = calls
