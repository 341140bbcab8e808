"""Let time pass over some jobs, and count what would have become of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial

from hermes_cron.job import Job
from hermes_cron.record import Moment, Record
from hermes_cron.rules import change
from hermes_cron.rules.wake import next_from_completion, settled
from hermes_cron.simulation.glide import Glide
from hermes_cron.simulation.plan import Plan
from hermes_cron.simulation.stage import Stage
from hermes_cron.simulation.tally import Tally

_MICROSECOND = timedelta(microseconds=1)


def simulate(jobs: Iterable[Job], plan: Plan, make: Callable[[Plan], Stage] = Stage) -> Tally:
    """What would become of these jobs from the plan's start to its end.

    A job that was read from a store goes on as it stands there, another is added anew. `make` makes the stage: an
    agent that behaves otherwise, for a study.
    """
    stage = make(plan)
    for job in jobs:
        step = change.create if job.created_at is None else _as_kept
        stage.store.change(job.id, partial(step, job=job))
    stage.wake()
    glide = Glide(stage)
    while stage.step():
        glide()
        if stage.tally.dead_since is not None:
            break
    return _finished(stage)


def _as_kept(record: Record, moment: Moment, *, job: Job) -> tuple[Record, Job]:
    # What ran or waited in that store is left there.
    return settled(next_from_completion(replace(record, job=job), moment), moment), job


def _finished(stage: Stage) -> Tally:
    tally = stage.tally
    tally.take(*stage.store.hand_over())
    if stage.up_at is not None:
        tally.awake_s += max(0.0, (stage.plan.until - stage.up_at).total_seconds())
    stage.now = stage.plan.until - _MICROSECOND
    stage.outage()
    for record in stage.store.jobs():
        tally.lines[record.job_id].undecided += sum(_undecided(stage, record))
    return tally


def _undecided(stage: Stage, record: Record) -> Iterator[int]:
    job = record.job
    last = job.last_due(stage.now) if job is not None else None
    if job is not None and last is not None and job.next_fire_at is not None:
        yield job.fires_between(job.next_fire_at, last) or 0
    yield sum(1 for entry in record.entries if entry.open)
