"""`hermes-cron runs`: the ledger. Every fire that came due, its one outcome, and the runs it took."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import click

from hermes_cron import views
from hermes_cron.browse import ledger_cursor, ledger_page, place_before
from hermes_cron.cli.policies import read_whole
from hermes_cron.cli.session import Session, pass_session
from hermes_cron.cli.show import emit_json, emit_pairs, emit_table, instant_words, said_lines, span_words
from hermes_cron.client import Client
from hermes_cron.clock import read_instant
from hermes_cron.errors import JobInvalid
from hermes_cron.ledger import DEAD_LETTER, Entry, FireState, Place
from hermes_cron.output import KEPT_PER_JOB, Output
from hermes_cron.runlogs import output_soon, run_or_last

MOST = 10_000
_WHY_CHARS = 120
_HEADERS = ("JOB", "DUE", "OUTCOME", "TRIES", "STARTED", "LATE", "TOOK", "LAST RUN", "WORKER", "WHY")


@click.group()
def runs() -> None:
    """The ledger: every fire that came due, and its one outcome."""


@runs.command("list")
@click.argument("job_id", metavar="[JOB]", required=False)
@click.option("--limit", default="20", metavar="N", show_default=True, help="How many fires, the newest first.")
@click.option("--before", metavar="INSTANT|CURSOR", help="Only fires before that; a page tells its cursor.")
@click.option("--state", "states", multiple=True, type=click.Choice([str(state) for state in FireState]),
              help="Of this state only; repeatable.")  # fmt: skip
@click.option("--dead", is_flag=True, help="The dead letter: what failed or was interrupted, to look at and `retry`.")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON, with all runs of each fire.")
@pass_session
def list_(
    session: Session, job_id: str | None, limit: str, before: str | None, states: tuple[str, ...], dead: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """List fires and what became of them, the newest first."""
    most = read_whole("limit", limit, 1, MOST)
    client = session.client()
    wanted = {FireState(state) for state in states} | (DEAD_LETTER if dead else frozenset())
    page = ledger_page(client, job_id, wanted, most, _place("before", before))
    entries = page.entries
    if not entries and job_id is not None:
        client.get(job_id)
    rows = views.fire_views(entries, client.runs_of(entries))
    if as_json:
        emit_json([row | {"cursor": ledger_cursor(entry.place)} for row, entry in zip(rows, entries, strict=True)])
        return
    zones = _zones(client)
    of = "" if job_id is None else f" of {job_id}"
    empty = f"No fire{of} has come due yet." if not wanted else f"No fire{of} is {' or '.join(sorted(wanted))}."
    empty = empty if before is None else f"No fire{of} is kept from before that."
    emit_table(_HEADERS, [_row(row, entry, zones) for row, entry in zip(rows, entries, strict=True)], empty)
    if page.after is not None:
        click.echo(f"There is more: --before {page.after}", err=True)


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@pass_session
def show(session: Session, run_id: str, as_json: bool) -> None:
    """Show one run: what it was to do, and what became of it."""
    client = session.client()
    run = client.find_run(run_id)
    view = views.run_view(run)
    if as_json:
        emit_json(view)
        return
    zone, now = _zones(client).get(run.job_id, "UTC"), client.now()
    instants = {
        name: instant_words(at, zone, now)
        for name, at in (("due", run.fire_at), ("claimed", run.claimed_at), ("started", run.started_at),
                         ("ended", run.ended_at))
    }  # fmt: skip
    emit_pairs({
        "run": run.id, "job": run.job_id, "kind": "manual" if run.manual else "scheduled", "state": run.state,
        **instants, "took": _span(view["took_s"]), "attempt": run.attempt, "task": run.task,
        "arguments": json.dumps(view["args"], ensure_ascii=False), "timeout": _span(run.timeout), "worker": run.worker,
        "fence": run.fence, "cancelled": run.cancel, "error": run.error,
        "result": json.dumps(view["result"], ensure_ascii=False) if run.result else None,
    })  # fmt: skip


@runs.command()
@click.argument("name", metavar="RUN|JOB")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@pass_session
def logs(session: Session, name: str, as_json: bool) -> None:
    """Show what an ended run printed and logged; of a JOB, what its last run did."""
    client = session.client()
    run = run_or_last(client, name)
    output = output_soon(client, run)
    if as_json:
        emit_json(views.output_view(run, output))
        return
    zone = _zones(client).get(run.job_id, "UTC")
    for line in said_lines(output or Output(), zone):
        click.echo(line)
    if output is None:
        words = f"note: nothing is kept of what {run.id} said: it said nothing, or it is too long ago"
        click.echo(f"{words} (kept are the last {KEPT_PER_JOB} of a job that said something).", err=True)


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.option("--reason", default="cancelled by hand", show_default=True, help="Told to the body, and kept.")
@pass_session
def cancel(session: Session, run_id: str, reason: str) -> None:
    """Ask a live run to stop; its body hears of it within ten seconds."""
    run = session.client().cancel(run_id, reason)
    click.echo(f"The run {run.id} is asked to stop.")


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@pass_session
def retry(session: Session, run_id: str, as_json: bool) -> None:
    """Run the job of a run once more, now, as a manual run: also how a dead letter is replayed."""
    changed = session.client().retry(run_id)
    key = changed.fire.key if changed.fire is not None else ""
    if as_json:
        emit_json({"job_id": changed.job.id, "fire": key, "arm": "armed" if changed.armed else "wanted"})
    else:
        click.echo(f"{changed.job.id} is run once more, as {key}.")
    if not changed.armed:
        click.echo("NAS could not be told; a live worker finds it within 15 seconds.", err=True)
        raise click.exceptions.Exit(75)


@runs.command()
@click.option("--from", "since", metavar="INSTANT", help="From when on; 24 hours ago if not given.")
@click.option("--to", "until", metavar="INSTANT", help="Until when; now if not given.")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@pass_session
def audit(session: Session, since: str | None, until: str | None, as_json: bool) -> None:
    """Recompute what was due, and hold the ledger against it: every due fire has exactly one outcome, or is named."""
    client = session.client()
    now = client.now()
    end = _instant("to", until, now)
    begin = _instant("from", since, end - timedelta(hours=24))
    if begin >= end:
        words = f"--from: {views.at(begin)} is not before {views.at(end)}, where the audit ends."
        raise JobInvalid(words, hint="Give --to a later instant, or --from an earlier one.", field="from")
    if begin > now:
        raise JobInvalid(f"--from: {views.at(begin)} is still to come: nothing was due since.", field="from")
    found = client.audit(begin, end)
    if as_json:
        emit_json(views.audit_view(found))
    else:
        click.echo(f"{found.due} fires of {found.jobs} jobs were due: {found.settled} settled, {found.open} open.")
        for name, begins in found.begins:
            click.echo(f"Of {name} the kept ledger begins at {views.at(begins)}: what was due before is not judged.")
        rows = [(f.job_id, views.at(f.fire_at), f.problem) for f in found.findings]
        emit_table(("JOB", "FIRE", "PROBLEM"), rows, "Every due fire has exactly one outcome, or is still open.")
    if not found.clean:
        raise click.exceptions.Exit(1)


def _instant(name: str, text: str | None, default: datetime) -> datetime:
    if text is None:
        return default
    try:
        return read_instant(text)
    except ValueError as error:
        hint = "Write an instant as in 2031-01-31T09:00:00Z."
        raise JobInvalid(f"--{name}: {error}.", hint=hint, field=name) from error


def _place(name: str, text: str | None) -> Place | None:
    if text is None:
        return None
    try:
        return place_before(text)
    except ValueError as error:
        raise JobInvalid(f"--{name}: {text!r} is no instant and no cursor.", field=name) from error


def _zones(client: Client) -> dict[str, str]:
    return {record.job_id: record.job.schedule.timezone for record in client.list() if record.job is not None}


def _row(row: views.View, entry: Entry, zones: dict[str, str]) -> tuple[object, ...]:
    zone = zones.get(entry.job_id, "UTC")
    last = row["runs"][-1] if row["runs"] else {}
    started = datetime.fromisoformat(row["started_at"]) if row["started_at"] else None
    return (
        entry.job_id, _due(entry, zone), entry.state, entry.attempts, _wall(started, zone) if started else "-",
        _span(row["late_s"]), _span(row["took_s"]), last.get("id"), row["worker"],
        _first_words(row["error"] or entry.reason),
    )  # fmt: skip


def _first_words(why: str) -> str:
    return why if len(why) <= _WHY_CHARS else f"{why[:_WHY_CHARS].rstrip()} ..."


def _due(entry: Entry, zone: str) -> str:
    first = f"{_wall(entry.fire_at, zone)} {zone}"
    if entry.manual:
        return f"{first} (by hand)"
    if entry.last_at is None:
        return first
    return f"{first} to {_wall(entry.last_at, zone)} ({entry.count or 'many'} fires)"


def _wall(instant: datetime, zone: str) -> str:
    return f"{instant.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"


def _span(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return span_words(seconds) if seconds >= 1 else f"{max(0.0, seconds) * 1000:.0f}ms"
