"""How a job, a fire, a run and an arm look as JSON: the same to the command line and to the API.

Every instant is text in its one form (UTC), every span is seconds, and what there is not is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from hermes_cron.arm import Arm
from hermes_cron.clock import instant_text
from hermes_cron.contract import SENTINEL_PREFIX
from hermes_cron.job import Job
from hermes_cron.ledger import Entry
from hermes_cron.output import Output
from hermes_cron.policy import Policy
from hermes_cron.record import Record
from hermes_cron.rules.audit import Audit
from hermes_cron.run import Run
from hermes_cron.schedule import Schedule

View = dict[str, Any]

_SAME = timedelta(seconds=1)
"""Two instants no further apart are one: some services keep whole seconds."""
_IN_DELIVERY = timedelta(seconds=60)


def at(instant: datetime | None) -> str | None:
    """An instant as text."""
    return None if instant is None else instant_text(instant)


def arm_state(arm: Arm, *, confirms: bool) -> str:
    """`armed`, `wanted`, `disarm wanted` or `none`; `ticker` where nobody outside holds alarms (not `confirms`)."""
    if not confirms:
        return "none" if arm.wake_at is None else "ticker"
    if arm.wanted:
        return "disarm wanted" if arm.wake_at is None else "wanted"
    return "none" if arm.wake_at is None else "armed"


def arm_view(record: Record, *, confirms: bool) -> View:
    """One arm: what is wanted (`wake_at`), what NAS confirmed (`armed_at`), and why it refused, if it did."""
    arm = record.arm
    return {
        "job_id": record.job_id,
        "sentinel": record.job_id.startswith(SENTINEL_PREFIX),
        "state": arm_state(arm, confirms=confirms),
        "wake_at": at(arm.wake_at),
        "armed_at": at(arm.armed_at) if arm.known else None,
        "refused": arm.refused,
    }


def job_view(record: Record, job: Job, *, confirms: bool) -> View:
    """One job: what was ordered, where it stands, and its arm in one word."""
    return {
        "id": job.id,
        "task": job.task,
        "args": dict(job.args),
        "schedule": job.schedule.source or job.schedule.text,
        "timezone": job.schedule.timezone,
        "anchor": job.schedule.anchor,
        "kind": job.schedule.kind,
        "policy": policy_view(job),
        "state": str(job.state),
        "reason": job.reason,
        "next_fire_at": at(job.next_fire_at),
        "last_fire_at": at(job.last_fire_at),
        "created_at": at(job.created_at),
        "counted": job.counted,
        "failures_in_row": job.failures_in_row,
        "open_runs": [run.id for run in record.open_runs],
        "waiting": len(record.waiting) + len(record.retries),
        "arm": arm_state(record.arm, confirms=confirms),
        "wake_at": at(record.arm.wake_at),
        "revision": job.revision,
    }


def policy_view(job: Job) -> View:
    """Every policy in force, those left at their default too; `grace` and `repeat` as they work out for this job."""
    found = {part.name: getattr(job.policy, part.name) for part in fields(Policy)}
    found |= {"grace": job.grace.total_seconds(), "repeat": job.repeat}
    return {name: at(value) if isinstance(value, datetime) else value for name, value in found.items()}


def schedule_view(schedule: Schedule, upcoming: Iterable[datetime], warnings: Iterable[str]) -> View:
    """What a schedule says: in words, its next fires, and what may surprise its author."""
    return {
        "kind": schedule.kind,
        "words": schedule.describe(),
        "timezone": schedule.timezone,
        "upcoming": [instant_text(fire) for fire in upcoming],
        "warnings": list(warnings),
    }


def run_view(run: Run) -> View:
    """One attempt, and what became of it; `result` is what the task returned."""
    return {
        "id": run.id,
        "job_id": run.job_id,
        "fire_at": at(run.fire_at),
        "attempt": run.attempt,
        "fence": run.fence,
        "manual": run.manual,
        "task": run.task,
        "args": dict(run.args),
        "state": str(run.state),
        "worker": run.worker,
        "claimed_at": at(run.claimed_at),
        "started_at": at(run.started_at),
        "ended_at": at(run.ended_at),
        "took_s": seconds_between(run.started_at, run.ended_at),
        "timeout": run.timeout,
        "lease_until": at(run.lease_until) if run.open else None,
        "cancel": run.cancel,
        "error": run.error,
        "result": result_of(run),
    }


def output_view(run: Run, output: Output | None) -> View:
    """What a run said, line by line; not `kept`: it said nothing, or it is too long ago.

    `level` is null for what was printed; behind the first `left_out_after` lines `left_out` bytes are missing.
    """
    output = output or Output()
    lines = [
        {"at": at(line.at), "source": line.source, "level": line.level or None, "text": line.text}
        for line in output.lines
    ]
    return {
        "run_id": run.id, "job_id": run.job_id, "state": str(run.state), "kept": bool(lines), "lines": lines,
        "left_out": output.left_out, "left_out_after": len(output.head) if output.left_out else None,
    }  # fmt: skip


def fire_view(entry: Entry, runs: Sequence[Run]) -> View:
    """One row of the ledger with its runs, the first attempt first; `late_s` is how long after its instant it began."""
    runs = sorted(runs, key=lambda run: run.attempt)
    started = next((run.started_at for run in runs if run.started_at is not None), None)
    last = runs[-1] if runs else None
    return {
        "job_id": entry.job_id,
        "key": entry.key,
        "fire_at": at(entry.fire_at),
        "last_at": at(entry.last_at),
        "count": entry.count,
        "manual": entry.manual,
        "state": str(entry.state),
        "reason": entry.reason,
        "attempts": entry.attempts,
        "retry_at": at(entry.not_before),
        "settled_at": at(entry.settled_at),
        "started_at": at(started),
        "late_s": seconds_between(entry.fire_at, started),
        "took_s": seconds_between(last.started_at, last.ended_at) if last else None,
        "worker": last.worker if last else None,
        "error": last.error if last else "",
        "runs": [run_view(run) for run in runs],
    }


def fire_views(entries: Iterable[Entry], runs: Iterable[Run]) -> list[View]:
    """Rows of the ledger, each with those of the runs that are its own."""
    own: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        own.setdefault((run.job_id, run.key), []).append(run)
    return [fire_view(entry, own.get((entry.job_id, entry.key), ())) for entry in entries]


def held_views(records: Iterable[Record], held: Mapping[str, datetime | None], now: datetime) -> list[View]:
    """Wanted, confirmed and held outside, by id; `agree` tells whether what is held is what is wanted."""
    kept = {record.job_id: record.arm for record in records}
    found = []
    for job_id in sorted({*kept, *held}):
        arm = kept.get(job_id, Arm())
        if arm == Arm() and job_id not in held:
            continue
        says = _differs(arm, held[job_id], now) if job_id in held else _lacks(arm, now)
        found.append({
            "job_id": job_id, "wake_at": at(arm.wake_at), "armed_at": at(arm.armed_at) if arm.known else None,
            "held_at": at(held.get(job_id)), "agree": not says, "says": says, "refused": arm.refused,
        })  # fmt: skip
    return found


def result_of(run: Run) -> Any:
    """What the task returned; text that is no JSON stands as text."""
    if not run.result:
        return None
    try:
        return json.loads(run.result)
    except ValueError:
        return run.result


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds from one instant to another, if there are both."""
    return None if start is None or end is None else round((end - start).total_seconds(), 6)


def _lacks(arm: Arm, now: datetime) -> str:
    """What is wrong when this arm is not held at all; empty where nothing is."""
    if arm.wanted:
        return "a disarm is not confirmed" if arm.wake_at is None else "wanted, and not held"
    # What has come within the last minute is on its way to us.
    on_its_way = arm.armed_at is None or now - _IN_DELIVERY <= arm.armed_at <= now
    return "" if on_its_way else "confirmed, but not held"


def _differs(arm: Arm, holds: datetime | None, now: datetime) -> str:
    """What is wrong when this arm is held at this instant; empty where nothing is."""
    if arm.wake_at is None:
        return "held, but not wanted"
    if arm.wanted:
        return "held, but not confirmed to be what is wanted"
    if holds is None or arm.armed_at is None or abs(holds - arm.armed_at) > _SAME:
        return "held at another instant"
    # A listed instant that is past confirms nothing: its fire may be the one that got lost.
    return "held at an instant that is past" if holds < now - _IN_DELIVERY else ""


def audit_view(found: Audit) -> View:
    """What an audit came to."""
    findings = [{"job_id": f.job_id, "fire_at": at(f.fire_at), "problem": f.problem} for f in found.findings]
    return {
        "clean": found.clean, "jobs": found.jobs, "due": found.due, "settled": found.settled, "open": found.open,
        "findings": findings, "ledger_begins": [{"job_id": name, "at": at(begins)} for name, begins in found.begins],
    }  # fmt: skip
