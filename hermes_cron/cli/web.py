"""`hermes-cron web`: webhook, API and dashboard under gunicorn, any number of processes of it."""

from __future__ import annotations

import shlex
from functools import partial

import click

from hermes_cron import bootstrap, server
from hermes_cron.cli.session import Session, pass_session
from hermes_cron.server import WsgiApp
from hermes_cron.webapp import Desk, make_webapp


@click.command()
@click.option(
    "--bind", default=None, metavar="ADDRESS", help="host:port, fd://N or unix:/path.  [env: HERMES_CRON_WEB__BIND]"
)
@click.option("-w", "--workers", type=click.IntRange(1, 256), default=2, show_default=True,
              envvar="HERMES_CRON_WEB_WORKERS", show_envvar=True, help="Processes.")  # fmt: skip
@click.option("--print-command", is_flag=True, help="Print the plain gunicorn command instead.")
@pass_session
def web(session: Session, bind: str | None, workers: int, print_command: bool) -> None:
    """Serve webhook, API and dashboard under gunicorn; workers run elsewhere, joined by a shared queue."""
    session.give("web.bind", bind)
    config = session.config
    if print_command:
        click.echo(shlex.join(server.command_line(config.settings.web.bind, workers)))
        return
    session.set_up_logging()
    bootstrap.require_shared(config, "hermes-cron web")
    # What is wrong is said once, here, and not by each process.
    bootstrap.the_verifier(config)
    bootstrap.the_broker(config).close()
    bootstrap.the_api_keys(config)

    def make() -> WsgiApp:
        verifier, broker = bootstrap.the_verifier(config), bootstrap.the_broker(config)
        client = partial(bootstrap.web_client, config, broker)
        desk = Desk(client, bootstrap.the_api_keys(config), config.settings.web.bind)
        return make_webapp(verifier, broker, partial(bootstrap.the_store, config), desk)

    server.serve(
        make, bind=config.settings.web.bind, workers=workers,
        on_listen=lambda url: click.echo(f"hermes-cron web at {url}", err=True),
    )  # fmt: skip
