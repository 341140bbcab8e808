"""`hermes-cron doctor`: look for what is wrong, and say what to do."""

from __future__ import annotations

from dataclasses import asdict

import click

from hermes_cron.cli.checks import FAIL, OK, WARN, Finding, examine
from hermes_cron.cli.session import Session, app_option, pass_session
from hermes_cron.cli.show import emit_json
from hermes_cron.logs import one_line, set_up_logging

_COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}


@click.command()
@click.option("--network", is_flag=True, help="Ask NAS, too, and fetch its keys.")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@app_option
@pass_session
def doctor(session: Session, network: bool, as_json: bool, late_app: str | None) -> None:
    """Look for what is wrong, and say what to do: one line a check; exit 1 if any failed."""
    session.give("app", late_app)
    # What the checks meet is in their findings; the log would say it twice.
    set_up_logging("error")
    found: list[Finding] = []
    for finding in examine(session, network=network):
        found.append(finding)
        if not as_json:
            _tell(finding)
    failed = sum(finding.state == FAIL for finding in found)
    if as_json:
        emit_json({"ok": not failed, "findings": [asdict(finding) for finding in found]})
    else:
        warned = sum(finding.state == WARN for finding in found)
        click.echo(f"{failed} failed, {warned} to look at, {len(found) - failed - warned} ok.")
    if failed:
        raise click.exceptions.Exit(1)


def _tell(finding: Finding) -> None:
    what = finding.what.rstrip(".")
    to_do = f". {finding.to_do}" if finding.to_do else ""
    state = click.style(finding.state.ljust(4), fg=_COLOURS[finding.state])
    click.echo(f"{state}  {finding.check.ljust(13)}  {one_line(what + to_do)}")
