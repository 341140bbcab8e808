"""Faults planted in the protocol, each as small as a slip of the pen: the state machine must catch every one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from hermes_cron.arm import Order
from hermes_cron.contract import SENTINEL_PREFIX
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.job import JobState
from hermes_cron.providers.chronos import steps
from hermes_cron.providers.chronos.ladder import Ladder
from hermes_cron.record import Moment, Record
from hermes_cron.rules import arms
from hermes_cron.rules.claim import Claim, Claimer, claim
from hermes_cron.rules.progress import Ended, begin, complete
from hermes_cron.run import Run
from hermes_cron.virtual.scripts import At, Script, Scripts, Steps
from tests.unit.simulation.circle import Circle, Protocol


class ArmsOnlyAfterTheRun(Scripts):
    def see_through(self, fire: Fire, ack: Callable[[], None]) -> Script[float | None]:
        decided = self.store.change(fire.job_id, partial(self.steps.claim, fire=fire, claimer=self.claimer))
        if decided.wait is not None:
            return decided.wait  # type: ignore[no-any-return]  # A mutant need not be typed well.
        yield At("firing.claimed")
        ack()
        if fire.job_id.startswith(SENTINEL_PREFIX):
            self.awake()
        elif decided.run is not None:
            yield from self.run(decided.run)
        yield from self.arm(fire.job_id)
        return None


class AcksBeforeTheClaim(Scripts):
    def see_through(self, fire: Fire, ack: Callable[[], None]) -> Script[float | None]:
        yield At("firing.received")
        ack()
        return (yield from super().see_through(fire, ack))


class AnswersNoRefusedFire(Scripts):
    def see_through(self, fire: Fire, ack: Callable[[], None]) -> Script[float | None]:
        decided = self.store.change(fire.job_id, partial(self.steps.claim, fire=fire, claimer=self.claimer))
        if decided.wait is not None:
            return decided.wait  # type: ignore[no-any-return]  # A mutant need not be typed well.
        yield At("firing.claimed")
        ack()
        if decided.run is None:
            return None
        yield from self.arm(fire.job_id)
        yield from self.run(decided.run)
        yield from self.arm(fire.job_id)
        return None


class PushesNoLadder(Ladder):
    def push(self, store: Store, horizon: timedelta | None) -> list[str]:
        return []


def _complete_without_fence(record: Record, moment: Moment, *, run: Run) -> tuple[Record, Ended]:
    held = record.run(run.id) or next((other for other in record.open_runs if other.key == run.key), run)
    return complete(record, moment, run=replace(run, id=held.id, fence=held.fence))


def _complete_forgetting(record: Record, moment: Moment, *, run: Run) -> tuple[Record, Ended]:
    after, ended = complete(record, moment, run=run)
    job = after.job
    if job is None or not ended.written or run.manual or job.next_fire_at is None:
        return after, ended
    # What has been completed is looked for from the fire itself on, and so comes due once more.
    return after.with_job(next_fire_at=run.fire_at), ended


def _confirm_whatever(record: Record, moment: Moment, *, order: Order) -> tuple[Record, bool]:
    if record.arm.owner != order.token:
        return steps.succeeded(record, moment, order=order)
    return arms.confirm(replace(record, arm=replace(record.arm, void=False)), moment, order=_as_wanted(record, order))


def _as_wanted(record: Record, order: Order) -> Order:
    return replace(order, wake_at=record.arm.wake_at)


def _give_up_for_good(
    record: Record, moment: Moment, *, order: Order, sent: bool, refused: str | None
) -> tuple[Record, timedelta]:
    return steps.failed(record, moment, order=order, sent=False, refused=refused)


class _PausedOutside:
    """Looks at the job's state before the claim, in a question of its own, and not in the claim."""

    def __init__(self, circle: Circle) -> None:
        self.circle = circle
        self.seen: dict[str, Record] = {}

    def claim(self, record: Record, moment: Moment, *, fire: Fire, claimer: Claimer) -> tuple[Record, Claim]:
        seen = self.seen.pop(f"{claimer.worker} {fire.job_id}", None)
        job = record.job
        if seen is None or seen.job is None or job is None or seen.job.state is not JobState.SCHEDULED:
            return claim(record, moment, fire=fire, claimer=claimer)
        if job.state is JobState.SCHEDULED:
            return claim(record, moment, fire=fire, claimer=claimer)
        opened = record.with_job(state=JobState.SCHEDULED, next_fire_at=seen.job.next_fire_at)
        after, answer = claim(opened, moment, fire=fire, claimer=claimer)
        return replace(after, job=after.job and after.job.with_state(job.state)), answer


class AsksForAPauseOutside(Scripts):
    def see_through(self, fire: Fire, ack: Callable[[], None]) -> Script[float | None]:
        record = self.store.read(fire.job_id)
        outside = self.steps.claim.__self__  # type: ignore[attr-defined]  # It is `_PausedOutside.claim`.
        if record is not None:
            outside.seen[f"{self.claimer.worker} {fire.job_id}"] = record
        return (yield from super().see_through(fire, ack))


def _by_local_clock(circle: Circle, owner: int) -> Steps:
    def claims(record: Record, moment: Moment, **given: Any) -> tuple[Record, Claim]:
        local = replace(moment, now=moment.now + timedelta(seconds=circle.drift[owner]))
        dead = [run for run in record.open_runs if run.lease_until is not None and run.lease_until <= local.now]
        # Only the leases are judged so.
        marked = record
        for run in dead:
            marked = marked.with_run(replace(run, lease_until=moment.now - timedelta(days=1)))
        return claim(marked, moment, **given)

    return Steps(claim=claims)


def _begins_whatever(record: Record, moment: Moment, *, run: Run, lease: timedelta) -> tuple[Record, Any]:
    held = record.run(run.id)
    if held is None or record.job is None:
        return begin(record, moment, run=run, lease=lease)
    entry = record.entry(run.key)
    opened = record.with_entry(replace(entry, reason="")) if entry is not None else record
    job = replace(record.job, state=JobState.SCHEDULED)
    after, answer = begin(replace(opened, job=job), replace(moment, stopped=False), run=run, lease=lease)
    return replace(after, job=after.job and replace(after.job, state=record.job.state)), answer


def _steps(**changed: Any) -> Callable[[Circle, int], Steps]:
    return lambda circle, owner: Steps(**changed)


MUTANTS: dict[str, Protocol] = {
    "it arms only after the run": Protocol(scripts=ArmsOnlyAfterTheRun),
    "it acknowledges before the claim": Protocol(scripts=AcksBeforeTheClaim),
    "it completes without a fence": Protocol(steps=_steps(complete=_complete_without_fence)),
    "it forgets at completion what it has run": Protocol(steps=_steps(complete=_complete_forgetting)),
    "it asks for a pause outside the claim": Protocol(
        AsksForAPauseOutside, lambda circle, owner: Steps(claim=_PausedOutside(circle).claim)
    ),
    "it confirms without comparing the wanted instant": Protocol(steps=_steps(succeeded=_confirm_whatever)),
    "it pushes no ladder": Protocol(ladder=PushesNoLadder),
    "it judges a lease by the local clock": Protocol(steps=_by_local_clock),
    "it begins without asking again": Protocol(steps=_steps(begin=_begins_whatever)),
    "it frees an arm whose call may still arrive": Protocol(steps=_steps(failed=_give_up_for_good)),
    "it answers no fire that it refuses": Protocol(scripts=AnswersNoRefusedFire),
}
