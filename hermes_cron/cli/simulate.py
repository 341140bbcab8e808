"""`hermes-cron simulate`: let time pass over your jobs, and see what would become of them. Changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from hermes_cron import bootstrap, views
from hermes_cron.app import Declared
from hermes_cron.cli.apply import checked
from hermes_cron.cli.jobs_file import jobs_in
from hermes_cron.cli.policies import read_whole
from hermes_cron.cli.session import Session, app_option, pass_session
from hermes_cron.cli.show import emit_json, emit_pairs, emit_table, span_words
from hermes_cron.clock import read_instant, utc_now
from hermes_cron.errors import HermesCronError, JobInvalid
from hermes_cron.job import Job
from hermes_cron.ledger import FireState
from hermes_cron.simulation.clock_changes import ClockChange, clock_changes, surprises
from hermes_cron.simulation.plan import FAULTS, Plan
from hermes_cron.simulation.simulate import simulate as let_time_pass
from hermes_cron.simulation.tally import Line, Tally

_HEADERS = ("JOB", "SCHEDULE", "RAN", "MISSED", "SKIPPED", "OTHER", "RUN AGAIN", "OPEN", "LATEST START")
_YEARS = (1970, 2999)
"""What can be begun in: ten years, and the schedules that look a century ahead, end well within the calendar."""

_OTHER = (FireState.FAILED, FireState.CANCELLED, FireState.INTERRUPTED)


@click.command()
@click.option("--days", default="30", metavar="N", show_default=True, help="How many days.")
@click.option("--from", "since", metavar="INSTANT", help="From when on; now if not given.")
@click.option("--faults", type=click.Choice(FAULTS), default="none", show_default=True, help="What goes wrong.")
@click.option("--seed", default="0", metavar="S", show_default=True, help="The same seed, the same faults.")
@click.option("--jobs", "file", type=click.Path(path_type=Path), metavar="FILE",
              help="A YAML file of jobs, instead of those of the store and the app.")  # fmt: skip
@click.option("--run-seconds", default="10", metavar="S", show_default=True, help="How long each run takes.")
@click.option("--idle-seconds", default="30", metavar="S", show_default=True, help="The wait before sleep.")
@click.option("--cold-seconds", default="2", metavar="S", show_default=True, help="How long a cold start takes.")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@app_option
@pass_session
def simulate(
    session: Session, days: str, since: str | None, faults: str, seed: str, file: Path | None, run_seconds: str,
    idle_seconds: str, cold_seconds: str, as_json: bool, late_app: str | None,
) -> None:  # fmt: skip
    """Let time pass over your jobs: what would run, be missed, be woken, and what it would cost.

    Your own jobs, the real decisions, and a virtual clock; the agent sleeps at zero and NAS wakes it. Nothing is
    changed and nothing is called.

    \b
    hermes-cron simulate --days 400
    hermes-cron simulate --days 90 --faults all --seed 7 --jobs jobs.yaml
    """  # noqa: D301 - click looks for the character, which a raw text would not have.
    session.give("app", late_app)
    logging.getLogger("hermes_cron").setLevel(logging.CRITICAL)
    plan = Plan(
        _instant(since), read_whole("days", days, 1, 3660), faults, read_whole("seed", seed, 0, 2**62),
        read_whole("run_seconds", run_seconds, 1, 86_400), read_whole("cold_seconds", cold_seconds, 0, 600),
        read_whole("idle_seconds", idle_seconds, 2, 86_400), session.config.settings.cron.chronos.ladder,
    )  # fmt: skip
    jobs = _jobs(session, file, plan.since)
    tally = let_time_pass(jobs, plan)
    changes = clock_changes((job.schedule.timezone for job in jobs), plan.since, plan.until)
    touched = surprises(jobs, plan.since, plan.until)
    if as_json:
        emit_json(_view(plan, jobs, tally, changes, touched))
    else:
        _print(plan, jobs, tally, changes, touched)


def _instant(text: str | None) -> datetime:
    if text is None:
        return utc_now()
    try:
        instant = read_instant(text)
    except ValueError as error:
        hint = "Write an instant like 2030-01-31T09:00:00Z."
        raise JobInvalid(f"--from: {error}.", hint=hint, field="from") from error
    if not _YEARS[0] <= instant.year <= _YEARS[1]:
        raise JobInvalid(
            f"--from must lie in the years {_YEARS[0]} to {_YEARS[1]}, not in {instant.year}.", field="from"
        )
    return instant


def _jobs(session: Session, file: Path | None, now: datetime) -> list[Job]:
    """Those of the file; else those of the store, and what the app declares beside them."""
    zone = session.config.settings.cron.timezone
    if file is not None:
        return [_made(declared, zone, now) for declared in jobs_in(file)]
    store = bootstrap.the_store(session.config)
    try:
        kept = {record.job_id: record.job for record in store.jobs() if record.job is not None}
        if store.stopped():
            click.echo("note: everything is stopped; this tells what would be if it were not.", err=True)
    finally:
        store.close()
    declared = session.app.jobs if session.app is not None else {}
    return [*kept.values(), *(_made(job, zone, now) for job_id, job in declared.items() if job_id not in kept)]


def _made(declared: Declared, zone: str, now: datetime) -> Job:
    try:
        return checked(declared, None, zone, now)
    except HermesCronError as error:
        raise JobInvalid(f"{declared.id}: {error}", field=error.field) from error


def _view(
    plan: Plan, jobs: Sequence[Job], tally: Tally, changes: Sequence[ClockChange], touched: dict[str, list[str]]
) -> views.View:
    return {
        "from": views.at(plan.since), "to": views.at(plan.until), "faults": plan.faults, "seed": plan.seed,
        "jobs": [_job_view(job, tally.lines[job.id]) for job in jobs],
        "cold_starts": tally.cold_starts, "awake_s": round(tally.awake_s, 3),
        "nas_calls": {"arms": tally.arms, "ladder": tally.rungs, "lists": tally.lists},
        "ladder_wakes": tally.sentinels, "outages": tally.outages, "given_up": tally.given_up,
        "crashes": tally.crashes, "lost_messages": tally.lost, "dead_since": views.at(tally.dead_since),
        "clock_changes": [
            {"timezone": change.timezone, "at": views.at(change.at), "minutes": change.minutes} for change in changes
        ],
        "warnings": touched,
    }  # fmt: skip


def _job_view(job: Job, line: Line) -> views.View:
    return {
        "id": job.id, "schedule": job.schedule.source or job.schedule.text, "timezone": job.schedule.timezone,
        "runs": line.runs, **{str(state): line.outcomes[state] for state in FireState if not _open(state)},
        "run_again": line.again, "open": line.undecided, "latest_start_s": round(line.latest_s, 3),
    }  # fmt: skip


def _open(state: FireState) -> bool:
    return state in (FireState.WAITING, FireState.RUNNING)


def _print(
    plan: Plan, jobs: Sequence[Job], tally: Tally, changes: Sequence[ClockChange], touched: dict[str, list[str]]
) -> None:
    emit_table(_HEADERS, [_row(job, tally.lines[job.id]) for job in jobs], "There are no jobs to simulate.")
    for change in changes:
        wall = change.at.astimezone(ZoneInfo(change.timezone))
        words = "forward" if change.minutes > 0 else "back"
        click.echo(f"clocks: {change.timezone} {wall:%Y-%m-%d %H:%M}, {abs(change.minutes)} minutes {words}")
    for job_id, sentences in touched.items():
        for sentence in sentences:
            click.echo(f"clocks: {job_id}: {sentence}")
    click.echo("")
    emit_pairs(_closing(plan, tally))


def _row(job: Job, line: Line) -> tuple[object, ...]:
    other = ", ".join(f"{line.outcomes[state]} {state}" for state in _OTHER if line.outcomes[state])
    return (
        job.id, job.schedule.source or job.schedule.text, line.outcomes[FireState.SUCCEEDED],
        line.outcomes[FireState.MISSED], line.outcomes[FireState.SKIPPED], other, line.again, line.undecided,
        span_words(line.latest_s) if line.runs else None,
    )  # fmt: skip


def _closing(plan: Plan, tally: Tally) -> dict[str, object]:
    awake, runs = tally.awake_s / (plan.days * 864), sum(line.runs for line in tally.lines.values())
    pairs: dict[str, object] = {
        "time": f"{plan.since:%Y-%m-%d %H:%M} to {plan.until:%Y-%m-%d %H:%M} UTC",
        "runs": runs,
        "cold starts": tally.cold_starts,
        "awake": f"{span_words(tally.awake_s)} ({awake:.1f} % of the time)",
        "calls to NAS": f"{tally.arms + tally.rungs + tally.lists} ({tally.arms} arms, {tally.rungs} for the ladder, "
        f"{tally.lists} lists)",
    }  # fmt: skip
    if plan.faults != "none":
        pairs["faults"] = (
            f"{tally.outages} outages of NAS, {tally.given_up} fires it gave up, {tally.crashes} crashes, "
            f"{tally.lost} lost messages"
        )
        pairs["ladder"] = f"woke the agent {tally.sentinels} times"
    if tally.dead_since is not None:
        pairs["dead"] = f"since {tally.dead_since:%Y-%m-%d %H:%M} UTC: nothing is armed, so nothing wakes the agent"
    return pairs
