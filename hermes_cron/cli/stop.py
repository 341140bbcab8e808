"""`hermes-cron stop` and `start`: everything, at every door."""

from __future__ import annotations

import click

from hermes_cron.cli.session import Session, pass_session


@click.command()
@pass_session
def stop(session: Session) -> None:
    """Stop everything: no job starts once this returns. Live runs go on; `hermes-cron start` ends it."""
    told = session.client().stop()
    click.echo("Everything is stopped. What comes due is skipped; `hermes-cron start` ends this.")
    if not told:
        click.echo("NAS could not be told: it may still wake this agent, and will be told then.", err=True)
        raise click.exceptions.Exit(75)


@click.command()
@pass_session
def start(session: Session) -> None:
    """End a stop: what came due meanwhile is skipped, and every job is armed again."""
    told = session.client().start()
    click.echo("Started again: what came due meanwhile is skipped, everything else is armed.")
    if not told:
        click.echo("NAS could not be told of all of it; a live worker goes on trying.", err=True)
        raise click.exceptions.Exit(75)
