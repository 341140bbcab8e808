"""`hermes-cron config`: the settings in force, what is wrong with them, and an example of all of them."""

from __future__ import annotations

from collections.abc import Iterator

import click

from hermes_cron import bootstrap
from hermes_cron.cli.session import Session, pass_session
from hermes_cron.cli.show import emit_json, emit_pairs, emit_table
from hermes_cron.config import Config, example_yaml
from hermes_cron.config_check import check as problems_of
from hermes_cron.errors import ConfigError
from hermes_cron.keys import variable
from hermes_cron.providers.registry import find_provider
from hermes_cron.transport import is_shared

json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")


@click.group()
def config() -> None:
    """Show the settings in force, or check them."""


@config.command()
@click.option("--sources", is_flag=True, help="Where each value comes from, and the variable that sets it.")
@json_option
@pass_session
def show(session: Session, sources: bool, as_json: bool) -> None:
    """Show every key and its value; secrets are masked."""
    rows = session.config.rows()
    if as_json:
        emit_json([
            {"key": row.key, "value": row.shown, "source": row.source, "variable": variable(row.key)} for row in rows
        ])  # fmt: skip
    elif sources:
        cells = [(row.key, row.shown, row.source, variable(row.key)) for row in rows]
        emit_table(("KEY", "VALUE", "FROM", "VARIABLE"), cells, "")
    else:
        emit_pairs({row.key: row.shown for row in rows})


@config.command()
@json_option
@pass_session
def check(session: Session, as_json: bool) -> None:
    """Look for contradictions and gaps, without opening a connection; exit 78 if there are any."""
    found = [*problems_of(session.config), *_named(session.config)]
    if as_json:
        emit_json({
            "ok": not found,
            "problems": [{"field": one.field, "message": one.message, "hint": one.hint} for one in found],
        })  # fmt: skip
        if found:
            raise click.exceptions.Exit(ConfigError.exit_code)
    elif len(found) == 1:
        raise found[0]
    elif found:
        for one in found:
            click.echo(f"- {one}")
        raise ConfigError(f"{len(found)} things are wrong with the configuration.", hint="They are listed above.")
    else:
        file = session.config.file
        click.echo(f"The configuration is right: {file if file else 'no file, so defaults and the environment'}.")


def _named(config: Config) -> Iterator[ConfigError]:
    """Whatever is named and cannot be had: a provider, a kind of queue or of store. Opens no connection."""
    settings = config.settings
    for look in (
        lambda: find_provider(settings.cron.provider or "builtin", config.home),
        lambda: is_shared(settings.broker.url),
        lambda: bootstrap.the_store(config).close(),
    ):
        try:
            look()
        except ConfigError as error:
            yield error


@config.command()
def example() -> None:
    """Print a configuration file with every key at its default, explained."""
    click.echo(example_yaml(), nl=False)
