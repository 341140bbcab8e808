"""`hermes-cron worker`: runs tasks, apart from the web."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import click

from hermes_cron import bootstrap
from hermes_cron.cli.session import Session, app_option, pass_session


@click.command()
@click.option(
    "-c", "--concurrency", type=int, default=None, help="Runs at a time.  [env: HERMES_CRON_WORKER__CONCURRENCY]"
)
@click.option("--pool", default=None, help="threads or processes.  [env: HERMES_CRON_WORKER__POOL]")
@app_option
@pass_session
def worker(session: Session, concurrency: int | None, pool: str | None, late_app: str | None) -> None:
    """Run tasks; consumes the shared queue, sweeps the store, and holds the provider.

    SIGTERM or Ctrl-C drains: what runs may end in its time, the rest is handed back.
    """
    session.give("worker.concurrency", concurrency)
    session.give("worker.pool", pool)
    session.give("app", late_app)
    session.set_up_logging()
    config = session.config
    bootstrap.require_shared(config, "hermes-cron worker")
    crew = bootstrap.make_crew(
        config, session.app, store=bootstrap.the_store(config), broker=bootstrap.the_broker(config)
    )
    over = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        over.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    crew.start()
    click.echo(
        f"hermes-cron worker: {config.settings.worker.concurrency} at a time, woken by {crew.scheduler.name}", err=True
    )
    over.wait()
    crew.stop()
