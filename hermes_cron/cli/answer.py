"""What the `jobs` commands answer: the echo of a change, one job, all jobs, the next fires, a run."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import click

from hermes_cron import views
from hermes_cron.cli.show import emit_json, emit_pairs, emit_table, instant_words, span_words
from hermes_cron.client import Changed, Client, upcoming
from hermes_cron.clock import monotonic
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import Entry, FireState
from hermes_cron.logs import one_line
from hermes_cron.policy import Policy
from hermes_cron.record import Record
from hermes_cron.run import Run

TRY_AGAIN = 75
_ECHOED = 3
_POLL_S = 0.2
_SHOWN = 300
_LATE = timedelta(seconds=60)
_LABELS = ("next", "then", "and then")
_TICKER = "by the built-in ticker of a running `hermes-cron serve` or `hermes-cron worker`"


def answer_change(client: Client, verb: str, changed: Changed, as_json: bool) -> None:
    """Echo what was changed: the kind in words, the next fires, what may surprise, and whether it is armed."""
    job, now = changed.job, client.now()
    record = client.record(job.id)
    fires, warnings = upcoming(job, _ECHOED), job.schedule.warnings(now)
    if as_json:
        view = views.job_view(record, job, confirms=client.confirms)
        view["arm"] = view["arm"] if changed.armed else "wanted"
        emit_json({**view, **views.schedule_view(job.schedule, fires, warnings)})
    else:
        click.echo(f"{verb} {job.id}: {job.schedule.describe()}, task {job.task}.")
        zone = job.schedule.timezone
        pairs = {name: instant_words(at, zone, now) for name, at in zip(_LABELS, fires, strict=False)}
        emit_pairs({**_standing(job), **pairs, "arm": _arm_words(client, record, job, now)})
        for warning in warnings:
            click.echo(f"warning: {warning}")
    if client.stopped():
        click.echo("note: everything is stopped, so nothing fires; `hermes-cron start` ends that.", err=True)
    leave(changed)


def answer_removal(changed: Changed, as_json: bool) -> None:
    """Say that a job is removed, and whether its alarm is gone."""
    if as_json:
        emit_json({"id": changed.job.id, "removed": True, "arm": "none" if changed.armed else "disarm wanted"})
    else:
        click.echo(f"Removed {changed.job.id}. `hermes-cron runs list {changed.job.id}` still shows what it did.")
    leave(changed)


def leave(changed: Changed) -> None:
    """End with 75 when NAS could not be told of a change, saying so."""
    if not changed.armed:
        words = (
            "The change is stored, but NAS could not be told of it yet: its alarm is wanted, not armed. A live worker "
            "goes on trying, and so does the next to start; `hermes-cron arms reconcile` tries now. [arm_wanted]"
        )
        click.echo(words, err=True)
        raise click.exceptions.Exit(TRY_AGAIN)


def answer_job(client: Client, record: Record, as_json: bool) -> None:
    """One job, with what is chosen for it and where it stands."""
    job, now = record.job, client.now()
    assert job is not None  # noqa: S101 - `Client.record` refuses what has none.
    warnings = job.schedule.warnings(now)
    if as_json:
        view = views.job_view(record, job, confirms=client.confirms)
        emit_json({**view, **views.schedule_view(job.schedule, upcoming(job, _ECHOED), warnings)})
        return
    zone = job.schedule.timezone
    emit_pairs({
        "job": job.id, "state": f"{job.state}: {job.reason}" if job.reason else job.state,
        "schedule": job.schedule.source or job.schedule.text, "in words": job.schedule.describe(), "zone": zone,
        "task": job.task, "arguments": json.dumps(dict(job.args), ensure_ascii=False), "policies": _policy_words(job),
        "next fire": instant_words(job.next_fire_at, zone, now),
        "last fire": instant_words(job.last_fire_at, zone, now),
        "counted": f"{job.counted} of {job.repeat}" if job.repeat is not None else job.counted,
        "failures": f"{job.failures_in_row} in a row" if job.failures_in_row else "none in a row",
        "open runs": ", ".join(run.id for run in record.open_runs) or "none",
        "waiting": len(record.waiting) + len(record.retries), "arm": _arm_words(client, record, job, now),
        "created": instant_words(job.created_at, zone, now), "revision": job.revision,
    })  # fmt: skip
    for warning in warnings:
        click.echo(f"warning: {warning}")


def answer_list(client: Client, declared: Collection[str], as_json: bool) -> None:
    """All jobs, one a line; a note where nothing seems to run them, and of what the app declares beside them."""
    records = [record for record in client.list() if record.job is not None]
    jobs = [(record, record.job) for record in records if record.job is not None]
    if as_json:
        emit_json([views.job_view(record, job, confirms=client.confirms) for record, job in jobs])
        return
    now = client.now()
    rows = [
        (
            job.id, job.state, job.schedule.source or job.schedule.text, job.task,
            instant_words(job.next_fire_at, job.schedule.timezone, now),
            views.arm_state(record.arm, confirms=client.confirms), job.failures_in_row or "-",
        )
        for record, job in jobs
    ]  # fmt: skip
    headers = ("JOB", "STATE", "SCHEDULE", "TASK", "NEXT FIRE", "ARM", "FAILED")
    emit_table(headers, rows, "There are no jobs. `hermes-cron jobs add --help` shows how to add one.")
    if new := sorted(set(declared) - {job.id for _, job in jobs}):
        words = "`hermes-cron serve` or `hermes-cron worker` adds what the app declares when it starts"
        click.echo(f"note: not there yet: {_some(new)}; {words}.", err=True)
    if client.stopped():
        click.echo("note: everything is stopped, so nothing fires; `hermes-cron start` ends that.", err=True)
    elif late := [job.id for record, job in jobs if _is_late(record, now)]:
        words = "nothing runs them: is a worker (`hermes-cron serve`) alive, with a free slot?"
        click.echo(f"note: due for over a minute: {_some(late)}; {words}", err=True)


def answer_next(client: Client, job: Job, count: int, as_json: bool) -> None:
    """The next fires of a job."""
    fires, now = upcoming(job, count), client.now()
    warnings = job.schedule.warnings(now)
    if as_json:
        emit_json({"id": job.id, "state": str(job.state), **views.schedule_view(job.schedule, fires, warnings)})
        return
    if not fires:
        click.echo(f"{job.id} does not fire: it is {_why_not(job)}.")
    for fire in fires:
        click.echo(f"{instant_words(fire, job.schedule.timezone, now)}  {views.at(fire)}")
    if job.anchored_at_completion and fires:
        click.echo("What follows is counted from the end of that run.")
    for warning in warnings:
        click.echo(f"warning: {warning}")


def answer_run(client: Client, changed: Changed, as_json: bool) -> None:
    """Say that a run was asked for."""
    fire, job = changed.fire, changed.job
    if as_json:
        emit_json({"job_id": job.id, "key": fire.key if fire else None, "arm": "armed" if changed.armed else "wanted"})
    else:
        click.echo(f"{job.id} is to run once, now: a live worker begins it within 15 s.")
        click.echo(f"`hermes-cron runs list {job.id}` shows what becomes of it.")
    leave(changed)


def wait_for(client: Client, fire: Entry, seconds: float, as_json: bool) -> None:
    """Wait for the outcome of a manual run: exit 1 if it is not `succeeded`, 75 if there is none in that time."""
    until = monotonic() + seconds
    while True:
        found = client.find_fire(fire.job_id, fire.key) or fire
        left = until - monotonic()
        if not found.open or left <= 0:
            break
        time.sleep(min(_POLL_S, left))
    runs = client.runs_of([found])
    if as_json:
        emit_json(views.fire_view(found, runs))
    else:
        _tell(found, runs, seconds)
    if found.state is not FireState.SUCCEEDED:
        raise click.exceptions.Exit(TRY_AGAIN if found.open else 1)


def _tell(fire: Entry, runs: Sequence[Run], seconds: float) -> None:
    view = views.fire_view(fire, runs)
    if fire.open:
        words = "A worker (`hermes-cron serve`) must be alive, with a free slot." if not runs else "It goes on."
        click.echo(f"{fire.job_id} has no outcome after {span_words(seconds)}: it is {fire.state}. {words}", err=True)
        return
    took = "" if view["took_s"] is None else f" in {span_words(view['took_s'])}"
    click.echo(f"{fire.job_id} {fire.state}{took}{f': {one_line(fire.reason)}' if fire.reason else ''}")
    if runs and runs[0].result:
        click.echo(f"result  {one_line(_begun(runs[0]))}")


def _begun(run: Run) -> str:
    """A result's beginning: a line of it is answer enough here."""
    if len(run.result) <= _SHOWN:
        return run.result
    return f"{run.result[:_SHOWN]} ... ({len(run.result)} characters; `hermes-cron runs show {run.id}` has them)"


def _standing(job: Job) -> dict[str, object]:
    return {} if job.state is JobState.SCHEDULED else {"state": f"{job.state}: {job.reason}".removesuffix(": ")}


def _why_not(job: Job) -> str:
    if job.state is not JobState.SCHEDULED:
        return str(job.state)
    return "waiting for the end of its run" if job.anchored_at_completion else "at the end of its schedule"


def _policy_words(job: Job) -> str:
    chosen = job.policy.to_dict()
    chosen.setdefault("misfire", Policy().misfire)
    chosen.setdefault("overlap", Policy().overlap)
    chosen.setdefault("grace", job.grace.total_seconds())
    return ", ".join(f"{name} {value}" for name, value in sorted(chosen.items()))


def _arm_words(client: Client, record: Record, job: Job, now: datetime) -> str:
    state, arm = views.arm_state(record.arm, confirms=client.confirms), record.arm
    if state == "ticker":
        return _TICKER
    if state == "armed":
        return f"armed at NAS for {instant_words(arm.armed_at, job.schedule.timezone, now)}"
    why = f"; NAS refused: {arm.refused}" if arm.refused else ""
    return {"wanted": "wanted: NAS does not hold it yet", "none": "none"}.get(state, state) + why


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _is_late(record: Record, now: datetime) -> bool:
    return record.arm.wake_at is not None and record.arm.wake_at < now - _LATE
