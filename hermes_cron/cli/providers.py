"""`hermes-cron providers`: who can wake us. Runs none of their code."""

from __future__ import annotations

from dataclasses import asdict

import click

from hermes_cron.cli.session import Session, pass_session
from hermes_cron.cli.show import emit_json, emit_table
from hermes_cron.providers.registry import BUILTIN, list_providers


@click.group()
def providers() -> None:
    """Who can wake us."""


@providers.command("list")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List all providers: those in the package, in $HERMES_CRON_HOME/plugins, and in installed packages."""
    chosen = session.config.settings.cron.provider or BUILTIN
    found, seen = [], set[str]()
    for info in list_providers(session.config.home):
        # Where two have a name, the first is the one that is used.
        found.append((info, info.name == chosen and info.name not in seen))
        seen.add(info.name)
    if as_json:
        emit_json([{**asdict(info), "chosen": used} for info, used in found])
        return
    rows = [
        (f"{info.name}{' (chosen)' if used else ''}", info.source, info.version, info.problem or info.description)
        for info, used in found
    ]
    emit_table(("PROVIDER", "FROM", "VERSION", "WHAT IT IS, OR WHAT IS WRONG"), rows, "")
