"""`hermes-cron schedule`: explain a schedule before it is used. Opens no store."""

from __future__ import annotations

import click

from hermes_cron import views
from hermes_cron.cli.policies import read_whole
from hermes_cron.cli.session import Session, pass_session
from hermes_cron.cli.show import emit_json, instant_words
from hermes_cron.clock import utc_now
from hermes_cron.schedule import Schedule


@click.group()
def schedule() -> None:
    """Explain a schedule before you use it."""


@schedule.command(context_settings={"ignore_unknown_options": True})  # `-5m` is to be refused as a schedule.
@click.argument("words", metavar="EXPR", nargs=-1, required=True)
@click.option("--timezone", metavar="ZONE", default=None, help="Its zone, like Europe/Lisbon; else cron.timezone.")
@click.option("--count", default="5", metavar="N", show_default=True, help="How many of its fires.")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@pass_session
def explain(session: Session, words: tuple[str, ...], timezone: str | None, count: str, as_json: bool) -> None:
    """Say in words when it fires, list the next times, and warn of clock changes among them.

    \b
    hermes-cron schedule explain '30 2 * * *' --timezone Europe/Lisbon
    hermes-cron schedule explain every 15m
    """  # noqa: D301 - click looks for the character, which a raw text would not have.
    most = read_whole("count", count, 1, 1000)
    zone = session.config.settings.cron.timezone if timezone is None else timezone
    now = utc_now()
    found = Schedule.parse(" ".join(words), timezone=zone, now=now)
    fires, warnings = found.upcoming(now, most), found.warnings(now)
    if as_json:
        emit_json({"schedule": found.source, **views.schedule_view(found, fires, warnings)})
        return
    click.echo(found.describe())
    for fire in fires:
        click.echo(f"  {instant_words(fire, zone, now)}  {views.at(fire)}")
    for warning in warnings:
        click.echo(f"warning: {warning}")
