"""`hermes-cron jobs apply` and `export`: jobs in a file, for those who keep them under version control."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from hermes_cron.app import Declared
from hermes_cron.cli.answer import TRY_AGAIN
from hermes_cron.cli.jobs_file import jobs_in
from hermes_cron.cli.session import Session, app_option, pass_session
from hermes_cron.cli.show import emit_json, emit_table
from hermes_cron.client import Client
from hermes_cron.document import write
from hermes_cron.errors import HermesCronError
from hermes_cron.job import Job, JobState
from hermes_cron.loading import all_tasks
from hermes_cron.logs import one_line
from hermes_cron.policy import Policy
from hermes_cron.schedule import Schedule
from hermes_cron.task import find_task

ADDED, CHANGED, SAME, REMOVED = "added", "changed", "as it was", "removed"


@click.command()
@click.option(
    "-f", "--file", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="A YAML file of jobs; - is the standard input.",
)  # fmt: skip
@click.option("--prune", is_flag=True, help="Remove the jobs that neither the file nor your app has.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before jobs are removed; without a terminal nothing is asked.")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@app_option
@pass_session
def apply(
    session: Session, file: Path, prune: bool, dry_run: bool, yes: bool, late_app: str | None, as_json: bool
) -> None:  # fmt: skip
    """Make the jobs what a file says: add what is new, change what differs, leave the rest alone. A pause stays.

    \b
    jobs:
      tide:
        schedule: every 15m
        task: http
        args: {url: "https://example.com/up"}
        overlap: queue
    """  # noqa: D301 - click looks for the character, which a raw text would not have.
    session.give("app", late_app)
    client, wanted = session.client(), jobs_in(file)
    kept = {record.job_id: record.job for record in client.list() if record.job is not None}
    _refuse_faults(session, client, wanted, kept)
    names = {declared.id for declared in wanted} | set(session.app.jobs if session.app is not None else ())
    left = sorted(kept.keys() - names) if prune else []
    if dry_run:
        done = {declared.id: _foreseen(client, declared, kept) for declared in wanted} | dict.fromkeys(left, REMOVED)
        _tell(done, as_json)
        return
    if left and not yes and sys.stdin.isatty() and not click.confirm(f"Remove {', '.join(left)}?"):
        click.echo("Nothing was done.", err=True)
        raise click.exceptions.Exit(1)
    changed = client.declare(wanted)
    done = {d.id: SAME if d.id not in changed else CHANGED if d.id in kept else ADDED for d in wanted}
    still = [job_id for job_id in left if not client.remove(job_id).armed]
    still += client.arm(changed)
    _tell(done | dict.fromkeys(left, REMOVED), as_json)
    if still:
        click.echo("NAS could not be told of all of it; a live worker goes on trying. [arm_wanted]", err=True)
        raise click.exceptions.Exit(TRY_AGAIN)


@click.command()
@pass_session
def export(session: Session) -> None:
    """Print all jobs as a file that `jobs apply` takes. One that is completed is left out."""
    jobs = [record.job for record in session.client().list() if record.job is not None]
    live = {job.id: order_of(job) for job in jobs if job.state is not JobState.COMPLETED}
    click.echo(write({"jobs": live}), nl=False)
    if paused := [job.id for job in jobs if job.state is JobState.PAUSED]:
        click.echo(f"note: paused, which a file does not say: {one_line(', '.join(paused))}.", err=True)


def order_of(job: Job) -> dict[str, Any]:
    """What was ordered, as it stands in a file: only what differs from the defaults."""
    schedule, policy = job.schedule, job.policy.to_dict()
    policy.pop("misfire_max", None)
    if job.policy.misfire == "run_all":
        policy["misfire"] = f"run_all({job.policy.misfire_max})"
    # `in 30m` was counted from when it was said: an instant stays the instant it is.
    text = schedule.text if schedule.kind == "once" else schedule.source or schedule.text
    order = {"schedule": text, "timezone": schedule.timezone, "task": job.task, "args": dict(job.args)}
    if schedule.anchor != "fire":
        order["anchor"] = schedule.anchor
    return {name: value for name, value in order.items() if value != {}} | policy


def checked(declared: Declared, old: Job | None, zone: str, now: datetime) -> Job:
    """The job that would be made of it; one that is kept already may stay what could not be added any more.

    Raises:
        ScheduleError, JobInvalid: It cannot be one.
    """
    said = (" ".join(declared.schedule.split()), declared.timezone or zone, declared.anchor)
    if old is not None and said == (old.schedule.source, old.schedule.timezone, old.schedule.anchor):
        schedule = old.schedule
    else:
        schedule = Schedule.parse(said[0], timezone=said[1], now=now, anchor=said[2])
    return Job(declared.id, declared.task, schedule, declared.args, Policy.from_dict(declared.policy))


def _refuse_faults(
    session: Session, client: Client, wanted: Sequence[Declared], kept: Mapping[str, Job]
) -> None:  # fmt: skip
    # All of the file, or nothing of it: half of it would be a state that nobody has written down.
    tasks, now, faults = all_tasks(session.config.settings.tasks, session.app), client.now(), list[str]()
    for declared in wanted:
        try:
            job = checked(declared, kept.get(declared.id), client.timezone, now)
            find_task(tasks, job.task).check(job.args)
        except HermesCronError as error:
            faults.append(f"{declared.id}: {error} [{error.code}]")
    for fault in faults:
        click.echo(one_line(fault), err=True)
    if faults:
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(2)


def _foreseen(client: Client, declared: Declared, kept: Mapping[str, Job]) -> str:
    old = kept.get(declared.id)
    if old is None:
        return ADDED
    new = checked(declared, old, client.timezone, client.now())
    return SAME if order_of(new) == order_of(old) else CHANGED


def _tell(done: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        emit_json([{"id": job_id, "done": what} for job_id, what in done.items()])
    else:
        emit_table(("JOB", "WHAT"), list(done.items()), "There is nothing to do.")
