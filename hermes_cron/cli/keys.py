"""`hermes-cron keys`: who may use the API and the dashboard."""

from __future__ import annotations

from pathlib import Path

import click

from hermes_cron.apikeys import SCOPES, add_key, read_keys
from hermes_cron.cli.session import Session, pass_session
from hermes_cron.cli.show import emit_json, emit_table


@click.group()
def keys() -> None:
    """Who may use the API and the dashboard. Without a file of keys these answer their own machine only."""


@keys.command()
@click.argument("name")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True,
              help="read looks; write also changes. Repeatable.")  # fmt: skip
@pass_session
def new(session: Session, name: str, scopes: tuple[str, ...]) -> None:
    """Print a new key, once; only its hash is kept, in the file that web.api_keys_file names."""
    file, configured = _file(session)
    click.echo(add_key(file, name, dict.fromkeys(scopes)))
    click.echo(f"It is shown this once; its hash is in {file}, and taking out the line withdraws it.", err=True)
    if not configured:
        click.echo(f"note: set web.api_keys_file to {file}, so that it opens anything.", err=True)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List who holds a key, and what it opens."""
    file, _ = _file(session)
    found = read_keys(file) if file.exists() else ()
    if as_json:
        emit_json([{"name": key.name, "scopes": sorted(key.scopes)} for key in found])
        return
    empty = "There are no keys. `hermes-cron keys new NAME --scope read` makes one."
    emit_table(("NAME", "SCOPES"), [(key.name, ", ".join(sorted(key.scopes))) for key in found], empty)


def _file(session: Session) -> tuple[Path, bool]:
    """The file of keys, and whether the configuration names it."""
    configured = session.config.settings.web.api_keys_file
    return (Path(configured).expanduser() if configured else session.config.home / "api-keys"), bool(configured)
