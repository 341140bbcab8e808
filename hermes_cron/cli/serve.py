"""`hermes-cron serve`: web and worker in one process, the unit that scales to zero."""

from __future__ import annotations

from dataclasses import dataclass

import click

from hermes_cron import bootstrap, server
from hermes_cron.app import HermesCron
from hermes_cron.bootstrap import Crew
from hermes_cron.cli.session import Session, app_option, pass_session
from hermes_cron.config import Config
from hermes_cron.idle import Gate, IdleExit
from hermes_cron.interfaces import FireVerifier
from hermes_cron.server import SETTINGS, WsgiApp
from hermes_cron.transport.door import Door
from hermes_cron.webapp import Desk, make_webapp

_STOP_S = 25.0
"""What a stop may take beside the drain: requests under way, bodies that are told to stop, the last arms."""


@dataclass(slots=True)
class Unit:
    """Web and worker of one process; made in gunicorn's one worker process, after the fork."""

    config: Config
    app: HermesCron | None
    verifier: FireVerifier
    idle_seconds: float | None
    door: Door | None = None
    crew: Crew | None = None
    idle: IdleExit | None = None

    def make(self) -> WsgiApp:
        """The web application, over the same broker as the worker."""
        store, broker = bootstrap.the_store(self.config), bootstrap.the_broker(self.config)
        self.door = Door(broker)
        self.crew = bootstrap.make_crew(self.config, self.app, store=store, broker=broker)
        client = self.crew.client
        desk = Desk(lambda _: client, bootstrap.the_api_keys(self.config), self.config.settings.web.bind)
        return make_webapp(self.verifier, self.door, lambda: store, desk)

    def start(self) -> None:
        """Start the worker, and the watch over idleness."""
        if self.crew is None or self.door is None:
            return
        self.crew.start()
        if self.idle_seconds is not None:
            gate = Gate(self.door.shut, self.door.open)
            crew = self.crew
            self.idle = IdleExit(
                crew.store, crew.broker, crew.busy, gate, server.end_from_within, self.idle_seconds
            )  # fmt: skip
            self.idle.start()

    def stop(self) -> None:
        """Shut the door, drain, end."""
        if self.crew is None or self.door is None:
            return
        if self.idle is not None:
            self.idle.stop()
        self.door.shut()
        self.crew.stop()


def _keepalive(idle: float | None) -> int:
    """Seconds; none where the process is to sleep: gunicorn waits 2 s for who keeps a connection before it ends.

    For so long the machine would stay up, and the next fire be refused instead of waking it.
    """
    return int(SETTINGS["keepalive"]) if idle is None else 0


@click.command()
@click.option("--exit-when-idle", "idle", type=click.FloatRange(min=0.1, max=86_400), metavar="S", default=None,
              help="End after S seconds with nothing to do; the next fire must start it again.")  # fmt: skip
@click.option(
    "--bind", default=None, metavar="ADDRESS", help="host:port, fd://N or unix:/path.  [env: HERMES_CRON_WEB__BIND]"
)
@click.option(
    "-c", "--concurrency", type=int, default=None, help="Runs at a time.  [env: HERMES_CRON_WORKER__CONCURRENCY]"
)
@app_option
@pass_session
def serve(
    session: Session, idle: float | None, bind: str | None, concurrency: int | None, late_app: str | None
) -> None:
    """Serve fires and run tasks in one process; the memory queue will do.

    With --exit-when-idle it ends when there is nothing to do, and whatever starts it on the next connection
    (socket activation, a platform that scales to zero) brings it back.
    """
    session.give("web.bind", bind)
    session.give("worker.concurrency", concurrency)
    session.give("app", late_app)
    session.set_up_logging()
    config = session.config
    # What is wrong is told here, before anything is forked.
    unit = Unit(config, session.app, bootstrap.the_verifier(config), idle)
    unit.make()
    if idle is not None and unit.crew is not None and not unit.crew.scheduler.confirms:
        click.echo(
            "note: the built-in ticker holds the alarms in this process, so it stays while any job has a wake; "
            "cron.provider: chronos lets it sleep.", err=True,
        )  # fmt: skip
    server.serve(
        unit.make, bind=config.settings.web.bind, on_start=unit.start, on_stop=unit.stop,
        graceful_seconds=config.settings.worker.drain_seconds + _STOP_S, keepalive_seconds=_keepalive(idle),
        on_listen=lambda url: click.echo(f"hermes-cron serves at {url}", err=True),
    )  # fmt: skip
