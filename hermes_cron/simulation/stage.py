"""`Stage`: the agent of `virtual` as a plan has it: bodies that take a while and succeed, and faults by chance."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from hermes_cron.contract import SENTINEL_PREFIX
from hermes_cron.fire import Fire
from hermes_cron.run import Run, RunState
from hermes_cron.simulation.counting import CountingClient
from hermes_cron.simulation.plan import CRASHES, LOSSES, Chance, Plan, outages
from hermes_cron.simulation.tally import Tally
from hermes_cron.virtual.agent import Agent
from hermes_cron.virtual.nas import Alarm, ModelNas

_HALTS = 12


class Stage(Agent):
    """The agent and the world around it, counted in `tally`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tally = Tally()
        self.crashes = Chance("crashes", plan, CRASHES)
        self.losses = Chance("lost-messages", plan, LOSSES)
        self._outages = outages(plan)
        super().__init__(
            plan.since, ModelNas(plan.retries), idle_s=plan.idle_s, rungs=tuple(plan.rungs), worker="simulated"
        )

    def make_client(self) -> CountingClient:
        """A client whose calls are counted."""
        return CountingClient(self.nas, self.nas_up, self.tally)

    def outage(self) -> datetime | None:
        """The end of the outage that NAS is in; None while it takes calls."""
        while self._outages and self._outages[0].end <= self.now:
            self._outages.pop(0)
            self.tally.outages += 1
        return self._outages[0].end if self._outages and self._outages[0].start <= self.now else None

    def next_outage(self) -> datetime:
        """The next instant at which NAS fails, or the end of it all."""
        self.outage()
        return self._outages[0].start if self._outages else self.plan.until

    def step(self) -> bool:
        """Go to the next instant at which something happens, and have it happen; False when nothing will."""
        at = self.next()
        if at is None or at >= self.plan.until:
            if at is None and self.store.next_wake() is not None:
                self.tally.dead_since = self.now
            return False
        self.go(at)
        self.tally.take(*self.store.hand_over())
        return True

    def deliver(self, alarm: Alarm) -> None:
        """Nobody is reached in an outage of both directions; else the fire is accepted, and lost if chance has it."""
        self.nas.begin(alarm)
        if self.outage() is not None and self._outages[0].both:
            self.tally.given_up += not self.nas.failed(alarm, self.now)
            return
        self.nas.delivered(alarm, self.now)
        self.tally.sentinels += alarm.job_id.startswith(SENTINEL_PREFIX)
        if self.rouse(self.plan.cold_s):
            self.tally.cold_starts += 1
            self.tally.awake_s += self.plan.cold_s
        if self.losses.strikes():
            self.tally.lost += 1
            return
        doomed = self.crashes.below(_HALTS) if self.crashes.strikes() else None
        self.accept(Fire(alarm.job_id, alarm.at), doomed)

    def body(self, run: Run) -> tuple[Run, float]:
        """It takes as long as the plan says, and succeeds if it has the time."""
        if run.timeout is not None and run.timeout < self.plan.run_s:
            return replace(run, state=RunState.FAILED, error="timed out"), run.timeout
        return replace(run, state=RunState.SUCCEEDED), self.plan.run_s

    def went_down(self, crashed: bool) -> None:
        """Count how long it was awake, and crashes."""
        self.tally.crashes += crashed
        if self.up_at is not None:
            self.tally.awake_s += max(0.0, (self.now - self.up_at).total_seconds())
