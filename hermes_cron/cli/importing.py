"""`hermes-cron jobs import`: bring jobs along from another program, and say of each what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from hermes_cron.cli.answer import TRY_AGAIN
from hermes_cron.cli.apply import checked
from hermes_cron.cli.beat_app import app_jobs, kept_elsewhere, load_celery
from hermes_cron.cli.beat_file import beat_jobs
from hermes_cron.cli.foreign import Found, crontab_jobs, hermes_jobs
from hermes_cron.cli.session import Session, note_what_is_off, pass_session
from hermes_cron.cli.show import emit_json, emit_table
from hermes_cron.client import Client
from hermes_cron.errors import HermesCronError
from hermes_cron.loading import all_tasks
from hermes_cron.task import Task, find_task

_FILE = click.argument("file", type=click.Path(path_type=Path))
_ZONE = click.option("--timezone", "zone", metavar="ZONE", help="Of schedules that name none; else cron.timezone.")
_DRY = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")


@click.group("import")
def imports() -> None:
    """Bring jobs along from another program. A job that is here already stays as it is."""


@imports.command()
@_FILE
@_ZONE
@_DRY
@_JSON
@pass_session
def hermes(session: Session, file: Path, zone: str | None, dry_run: bool, as_json: bool) -> None:
    """From a Hermes agent's cron/jobs.json: its prompts, under their ids; they run by the task `prompt`."""
    _bring(session, hermes_jobs(file), zone, dry_run=dry_run, as_json=as_json)


@imports.command()
@_FILE
@_ZONE
@_DRY
@_JSON
@pass_session
def crontab(session: Session, file: Path, zone: str | None, dry_run: bool, as_json: bool) -> None:
    """From a user's crontab (`crontab -l > FILE`): its commands, by the task `shell`, which must be enabled."""
    _bring(session, crontab_jobs(file), zone, dry_run=dry_run, as_json=as_json)


@imports.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("-A", "--app", "spec", metavar="PROJ", help="Your Celery app, as in `celery -A PROJ`.")
@_ZONE
@_DRY
@_JSON
@pass_session
def celery(
    session: Session, file: Path | None, spec: str | None, zone: str | None, dry_run: bool, as_json: bool
) -> None:  # fmt: skip
    """From Celery beat: the beat_schedule of a Celery app, or a FILE; `-` reads it from the standard input.

    Before `jobs`, -A names your app of here, whose tasks must have the names that they have there.

    \b
    hermes-cron -A reports:app jobs import celery -A proj --dry-run
    manage.py dumpdata django_celery_beat | hermes-cron -A reports:app jobs import celery -

    A FILE may also be a beat_schedule written as JSON, with seconds or the fields of crontab() for a schedule:

    \b
    {"timezone": "Europe/Lisbon", "beat_schedule": {
      "morning": {"task": "reports.publish", "schedule": {"minute": "0", "hour": "6"}, "args": []}}}

    What Celery fires by day of month and day of week becomes the nth weekday, or is left out: cron means another thing.
    """  # noqa: D301 - click looks for the character, which a raw text would not have.
    if (file is None) == (spec is None):
        raise click.UsageError("Name your Celery app with -A PROJ, or a FILE: one of the two.")
    if file is not None:
        found = beat_jobs(file)
    else:
        app = load_celery(spec or "")
        found = app_jobs(app)
        if note := kept_elsewhere(app):
            click.echo(f"note: {note}", err=True)
    _bring(session, found, zone, dry_run=dry_run, as_json=as_json)


def _bring(session: Session, found: Sequence[Found], zone: str | None, *, dry_run: bool, as_json: bool) -> None:
    client, tasks = session.client(), all_tasks(session.config.settings.tasks, session.app)
    known = {record.job_id for record in client.list()}
    looked = [_looked_at(client, one, zone, known, tasks) for one in found]
    wanted: list[str] = []
    for number, one in enumerate(looked):
        if one.declared is not None and not dry_run:
            try:
                wanted += _added(client, one)
            except HermesCronError as error:
                looked[number] = replace(one, declared=None, why=str(error))
    _tell(looked, as_json=as_json, verb="would be added" if dry_run else "added")
    note_what_is_off(session, [one.declared.task for one in looked if one.declared is not None])
    if wanted:
        click.echo("NAS could not be told of all of them; a live worker goes on trying. [arm_wanted]", err=True)
        raise click.exceptions.Exit(TRY_AGAIN)
    if any(one.declared is None for one in looked):
        raise click.exceptions.Exit(1)


def _looked_at(client: Client, one: Found, zone: str | None, known: set[str], tasks: Mapping[str, Task]) -> Found:
    """The same with its zone and all arguments by name, or with why it cannot be had."""
    if one.declared is None:
        return one
    declared = replace(one.declared, timezone=one.declared.timezone or zone)
    if declared.id in known:
        return replace(one, declared=None, why="there is a job of its id already")
    try:
        task = find_task(tasks, declared.task)
        declared = replace(declared, args=task.named(one.positional, declared.args))
        task.check(checked(declared, None, client.timezone, client.now()).args)
    except HermesCronError as error:
        return replace(one, declared=None, why=str(error))
    known.add(declared.id)
    return replace(one, declared=declared)


def _added(client: Client, one: Found) -> list[str]:
    """Keep one job; its id where its alarm is wanted still."""
    declared = one.declared
    assert declared is not None  # noqa: S101 - the caller has looked.
    changed = client.add(
        declared.id, declared.schedule, declared.task, args=declared.args, timezone=declared.timezone,
        anchor=declared.anchor, policy=declared.policy, paused="paused where it came from" if one.paused else "",
    )  # fmt: skip
    return [] if changed.armed else [declared.id]


def _tell(found: Sequence[Found], *, as_json: bool, verb: str) -> None:
    rows = [
        {
            "from": one.name, "id": one.declared.id if one.declared else None,
            "schedule": one.declared.schedule if one.declared else None,
            "timezone": one.declared.timezone if one.declared else None,
            "task": one.declared.task if one.declared else None,
            "args": dict(one.declared.args) if one.declared else None,
            "policy": dict(one.declared.policy) if one.declared else None,
            "done": (f"{verb}, paused" if one.paused else verb) if one.declared else "left out",
            "why": one.why, "lost": list(one.lost),
        }
        for one in found
    ]  # fmt: skip
    if as_json:
        emit_json(rows)
        return
    cells = [
        (row["from"], row["id"], row["schedule"], row["done"], one.why or "; ".join(one.lost))
        for row, one in zip(rows, found, strict=True)
    ]
    emit_table(("FROM", "JOB", "SCHEDULE", "WHAT", "WHY"), cells, "There are no jobs in it.")
