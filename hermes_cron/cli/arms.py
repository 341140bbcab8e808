"""`hermes-cron arms`: what is wanted of NAS, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import click

from hermes_cron import views
from hermes_cron.cli.session import Session, pass_session
from hermes_cron.cli.show import emit_json, emit_table, instant_words
from hermes_cron.clock import read_instant
from hermes_cron.errors import ArmWanted, NasError
from hermes_cron.interfaces import Reconciled

_NOTHING = "Nothing is held outside: the built-in ticker of a running worker fires all jobs."
json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")


@click.group()
def arms() -> None:
    """What is wanted of NAS, and what it holds."""


@arms.command("list")
@click.option("--all", "everything", is_flag=True, help="The agent's own sentinels (_wake.N), too.")
@json_option
@pass_session
def list_(session: Session, everything: bool, as_json: bool) -> None:
    """List the arms in the store: what is wanted, and what NAS confirmed."""
    client = session.client()
    every = [views.arm_view(record, confirms=client.confirms) for record in client.arms()]
    rows = [row for row in every if row["state"] != "none"]
    shown = [row for row in rows if everything or not row["sentinel"]]
    if as_json:
        emit_json(shown)
        return
    now = client.now()
    cells = [
        (row["job_id"], row["state"], _words(row["wake_at"], now), _words(row["armed_at"], now), row["refused"])
        for row in shown
    ]
    emit_table(("JOB", "ARM", "WANTED AT", "CONFIRMED AT", "REFUSED"), cells, "Nothing is wanted: no job has a wake.")
    if len(shown) < len(rows):
        click.echo(f"and {len(rows) - len(shown)} sentinels of the agent's own (--all shows them)")


@arms.command()
@json_option
@pass_session
def diff(session: Session, as_json: bool) -> None:
    """Compare what is wanted with what NAS holds: exit 0 when they agree, 1 when not, 75 when NAS does not answer."""
    client = session.client()
    records, now = client.arms(), client.now()
    try:
        held = client.held()
    except NasError:
        # What is wanted is known without NAS, so it is shown before the error ends this.
        if not as_json:
            _compare([{**row, "says": "NAS did not answer"} for row in views.held_views(records, {}, now)], now)
        raise
    rows = [] if held is None else views.held_views(records, held, now)
    agree = all(row["agree"] for row in rows)
    if as_json:
        emit_json({"agree": agree, "arms": rows})
    elif held is None:
        click.echo(_NOTHING)
    else:
        _compare(rows, now)
    if not agree:
        raise click.exceptions.Exit(1)


@arms.command()
@json_option
@pass_session
def reconcile(session: Session, as_json: bool) -> None:
    """Make NAS hold what is wanted, and nothing else; what it holds of unknown jobs is cancelled."""
    client = session.client()
    if client.held() is None and not as_json:
        click.echo(_NOTHING)
    done = client.reconcile()
    if as_json:
        emit_json({name: list(getattr(done, name)) for name in ("armed", "disarmed", "orphans", "wanted")})
    else:
        _tell(done)
    if done.wanted:
        raise ArmWanted(f"Still wanted: {_some(done.wanted)}.", hint="Try again; a live worker does, too.")


def _compare(rows: list[views.View], now: datetime) -> None:
    cells = [
        (row["job_id"], _words(row["wake_at"], now), _words(row["armed_at"], now), _words(row["held_at"], now),
         row["says"] or "agree")
        for row in rows
    ]  # fmt: skip
    headers = ("JOB", "WANTED AT", "CONFIRMED AT", "HELD AT", "")
    emit_table(headers, cells, "Nothing is wanted, and nothing is held.")


def _tell(done: Reconciled) -> None:
    parts: Mapping[str, tuple[str, ...]] = {
        "armed": done.armed, "disarmed": done.disarmed, "of unknown jobs": done.orphans, "still wanted": done.wanted,
    }  # fmt: skip
    for name, ids in parts.items():
        click.echo(f"{len(ids)} {name}{f': {_some(ids)}' if ids else ''}")


def _some(ids: tuple[str, ...]) -> str:
    return ", ".join(ids[:10]) + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")


def _words(text: str | None, now: datetime) -> str:
    return instant_words(None if text is None else read_instant(text), "UTC", now)
