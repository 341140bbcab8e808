"""What one command line was given, and what is made of it when a command asks: the configuration and the app."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Any, TypeVar

import click

from hermes_cron import bootstrap
from hermes_cron.app import HermesCron
from hermes_cron.client import Client
from hermes_cron.config import Config, load
from hermes_cron.loading import load_app
from hermes_cron.logs import set_up_logging
from hermes_cron.tasks import off

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One command line: what stood before the command, and the flags of the command that are keys."""

    def __init__(self, app: str, path: str | None, pairs: tuple[str, ...], lenient: bool, log_level: str) -> None:
        self._path = path
        self._lenient = lenient
        self._log_level = log_level
        self._flags: dict[str, object] = {}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals:
                raise click.UsageError(f"--set {pair}: write KEY=VALUE.")
            self._flags[key.strip()] = value
        self.give("app", app or None)

    def give(self, key: str, value: object) -> None:
        """Take the value of a flag for a key; None is no value."""
        if value is not None:
            self._flags[key] = value

    @cached_property
    def config(self) -> Config:
        """The configuration in force."""
        found = load(self._path, flags=self._flags, lenient=self._lenient)
        for note in found.notes:
            click.echo(f"note: {note}", err=True)
        return found

    @cached_property
    def app(self) -> HermesCron | None:
        """The application, if one is named."""
        return load_app(self.config.settings.app)

    def client(self) -> Client:
        """The door to jobs, for a one-off command: quiet but for what went wrong."""
        set_up_logging(self._log_level or "warning", os.environ.get("HERMES_CRON_LOG_FORMAT", "human"))
        context = click.get_current_context()
        if not self._log_level:
            # What a store warns of, `doctor` and the services say: not every command anew.
            log = logging.getLogger("hermes_cron.store")
            context.call_on_close(partial(log.setLevel, log.level))
            log.setLevel(logging.ERROR)
        client = bootstrap.open_client(self.config, self.app)
        context.call_on_close(client.close)
        return client

    def set_up_logging(self) -> None:
        """Log as a service does."""
        set_up_logging(self._log_level)


pass_session = click.make_pass_decorator(Session)


def app_option(command: F) -> F:
    """Let -A stand after the command too."""
    return click.option("-A", "--app", "late_app", default=None, help="Your app, module:attr.  [env: HERMES_CRON_APP]")(
        command
    )


def note_what_is_off(session: Session, tasks: Iterable[str]) -> None:
    """Say which of these tasks are off here: no refusal, as what counts is the worker's configuration."""
    keys = off(session.config.settings.tasks)
    for task in sorted(set(tasks) & keys.keys()):
        words = f"note: the task {task} is off here; its runs fail unless {keys[task]} is set for the worker."
        click.echo(words, err=True)
