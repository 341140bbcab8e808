"""`hermes-cron dev`: NAS and agent on free ports, to stay up and play with."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import click

from hermes_cron.cli.embedded import Embedded
from hermes_cron.cli.session import Session, app_option, pass_session
from hermes_cron.errors import HermesCronError


@click.command()
@app_option
@pass_session
def dev(session: Session, late_app: str | None) -> None:
    """Start NAS, web and worker with embedded defaults on free ports; Ctrl-C ends it and leaves nothing behind."""
    session.give("app", late_app)
    # Looked at here, so that one that cannot be loaded is told before anything is started and printed.
    _ = session.app
    over = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        over.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    with Embedded(session.config.settings.app or "hermes_cron.cli.demo_app:app") as embedded:
        embedded.start_nas()
        agent = embedded.start_agent()
        click.echo(f"NAS     {embedded.nas_url}")
        click.echo(f"agent   {embedded.agent_url}   (POST /api/cron/fire, GET /healthz /readyz /api/cron/load)")
        click.echo(f"look    {embedded.agent_url}/   (the dashboard; the API is at /api/cron/jobs)")
        click.echo(f"logs    {embedded.home}/nas.log and agent.log")
        click.echo("\nIn another terminal:")
        click.echo(f"  export HERMES_CRON_CONFIG={embedded.config_file}")
        click.echo("  hermes-cron jobs add tide --schedule 'every 10s' --task demo.tide")
        click.echo("  hermes-cron runs list\n\nCtrl-C ends it.")
        while not over.wait(0.5):
            if agent.poll() is not None:
                raise HermesCronError(f"The agent ended: {embedded.log('agent')[-1500:]}")
