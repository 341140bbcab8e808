"""`hermes-cron jobs`: add, look at, change and run jobs."""

from __future__ import annotations

import sys

import click

from hermes_cron.cli.answer import (
    answer_change,
    answer_job,
    answer_list,
    answer_next,
    answer_removal,
    answer_run,
    wait_for,
)
from hermes_cron.cli.apply import apply, export
from hermes_cron.cli.importing import imports
from hermes_cron.cli.policies import policy_options, read_args, read_duration, read_policy, read_whole
from hermes_cron.cli.session import Session, app_option, note_what_is_off, pass_session

json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
_ANCHOR = "Count 'every' from the last fire, or from the completion of the last run."


@click.group()
def jobs() -> None:
    """Add, look at, change and run jobs."""


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--schedule", required=True, help="'0 6 * * 1-5', 'every 15m', 'in 30m', 'weekdays at 9am', an instant.")
@click.option("--task", required=True, help="The task to run: http, shell, prompt, or one of your app's.")
@click.option("--args", "args_text", metavar="JSON", default=None, help="Its keyword arguments, as a JSON object.")
@click.option("--timezone", metavar="ZONE", default=None, help="Its zone, like Europe/Lisbon; else cron.timezone.")
@click.option("--anchor", metavar="fire|completion", default="fire", help=_ANCHOR)
@policy_options
@app_option
@json_option
@pass_session
def add(
    session: Session, /, job_id: str, schedule: str, task: str, args_text: str | None, timezone: str | None,
    anchor: str, late_app: str | None, as_json: bool, **policy: str | None,
) -> None:  # fmt: skip
    """Add a job.

    \b
    hermes-cron jobs add ping --schedule 'every 5m' --task http --args '{"url": "https://example.com/up"}'
    """  # noqa: D301 - click looks for the character, which a raw text would not have.
    session.give("app", late_app)
    given, args = read_policy(policy), read_args(args_text or "{}")
    client = session.client()
    chosen = {name: value for name, value in given.items() if value is not None}
    changed = client.add(job_id, schedule, task, args=args, timezone=timezone, anchor=anchor, policy=chosen)
    note_what_is_off(session, [task])
    answer_change(client, "Added", changed, as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--schedule", default=None, help="When it fires.")
@click.option("--task", default=None, help="The task to run.")
@click.option("--args", "args_text", metavar="JSON", default=None, help="All its arguments, as a JSON object.")
@click.option("--timezone", metavar="ZONE", default=None, help="Its zone, like Europe/Lisbon.")
@click.option("--anchor", metavar="fire|completion", default=None, help=_ANCHOR)
@policy_options
@click.option("--if-revision", metavar="N", default=None, help="Only if the job is still at this revision.")
@app_option
@json_option
@pass_session
def edit(
    session: Session, /, job_id: str, schedule: str | None, task: str | None, args_text: str | None,
    timezone: str | None, anchor: str | None, if_revision: str | None, late_app: str | None, as_json: bool,
    **policy: str | None,
) -> None:  # fmt: skip
    """Change what is given, and nothing else; a policy given as '' goes back to its default."""
    session.give("app", late_app)
    given = read_policy(policy)
    args = None if args_text is None else read_args(args_text or "{}")
    revision = None if if_revision is None else read_whole("if_revision", if_revision, 1, 10**12)
    if not given and all(value is None for value in (schedule, task, args, timezone, anchor)):
        raise click.UsageError("There is nothing to change: give at least one of the options.")
    if timezone == "":
        timezone = session.config.settings.cron.timezone
    client = session.client()
    changed = client.update(
        job_id, schedule=schedule, timezone=timezone, task=task, args=args, anchor=anchor, policy=given,
        if_revision=revision,
    )  # fmt: skip
    note_what_is_off(session, [changed.job.task])
    answer_change(client, "Changed", changed, as_json)


@jobs.command("list")
@json_option
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List all jobs."""
    answer_list(session.client(), session.app.jobs if session.app is not None else (), as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@json_option
@pass_session
def show(session: Session, job_id: str, as_json: bool) -> None:
    """Show one job: what was ordered, where it stands, and what wakes it next."""
    client = session.client()
    answer_job(client, client.record(job_id), as_json)


@jobs.command("next")
@click.argument("job_id", metavar="ID")
@click.option("--count", default="5", metavar="N", show_default=True, help="How many.")
@json_option
@pass_session
def next_(session: Session, job_id: str, count: str, as_json: bool) -> None:
    """Show a job's next fires, and the clock changes among them."""
    most = read_whole("count", count, 1, 1000)
    client = session.client()
    answer_next(client, client.get(job_id), most, as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--reason", default="", help="Why, for those who wonder later.")
@json_option
@pass_session
def pause(session: Session, job_id: str, reason: str, as_json: bool) -> None:
    """Let nothing of a job start from now on; what runs, goes on."""
    client = session.client()
    answer_change(client, "Paused", client.pause(job_id, reason[:500]), as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@json_option
@pass_session
def resume(session: Session, job_id: str, as_json: bool) -> None:
    """Let a job fire again, counted from now."""
    client = session.client()
    answer_change(client, "Resumed", client.resume(job_id), as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--wait", metavar="DURATION", default=None, help="Wait so long for its outcome; exit 1 if it failed.")
@json_option
@pass_session
def run(session: Session, job_id: str, wait: str | None, as_json: bool) -> None:
    """Run a job once, now, beside its schedule."""
    seconds = None if wait is None else read_duration("wait", wait)
    client = session.client()
    changed = client.run(job_id)
    if seconds is not None and changed.fire is not None:
        wait_for(client, changed.fire, seconds, as_json)
    else:
        answer_run(client, changed, as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask; without a terminal nothing is asked.")
@json_option
@pass_session
def remove(session: Session, job_id: str, yes: bool, as_json: bool) -> None:
    """Remove a job; a live run of it goes on to its end, and the ledger keeps what was."""
    client = session.client()
    client.get(job_id)
    if not yes and sys.stdin.isatty() and not click.confirm(f"Remove {job_id}?"):
        click.echo("Nothing was removed.", err=True)
        raise click.exceptions.Exit(1)
    answer_removal(client.remove(job_id), as_json)


jobs.add_command(apply)
jobs.add_command(export)
jobs.add_command(imports)
