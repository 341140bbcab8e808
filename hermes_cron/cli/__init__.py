"""The command line. A command's module is imported when the command is run, so that `--help` is there at once."""

from __future__ import annotations

import contextlib
import difflib
import gc
import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from hermes_cron.errors import HermesCronError
from hermes_cron.logs import one_line
from hermes_cron.version import __version__

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("hermes_cron.cli.demo:demo", "See the whole circle turn on this machine, in about 15 seconds."),
    "dev": ("hermes_cron.cli.dev:dev", "The same parts, to stay up and play with."),
    "serve": ("hermes_cron.cli.serve:serve", "Web and worker in one process: the unit that scales to zero."),
    "web": ("hermes_cron.cli.web:web", "Webhook, API and dashboard under gunicorn; workers run elsewhere."),
    "worker": ("hermes_cron.cli.worker:worker", "Run tasks; the web runs elsewhere."),
    "nas": ("hermes_cron.cli.nas:nas", "The self-hosted NAS: serve it, its keys, its agents."),
    "jobs": ("hermes_cron.cli.jobs:jobs", "Add, look at, change and run jobs."),
    "runs": ("hermes_cron.cli.runs:runs", "The ledger: every fire that came due, and its one outcome."),
    "arms": ("hermes_cron.cli.arms:arms", "What is wanted of NAS, and what it holds."),
    "stop": ("hermes_cron.cli.stop:stop", "Stop everything at every door: no job starts any more."),
    "start": ("hermes_cron.cli.stop:start", "End a stop."),
    "keys": ("hermes_cron.cli.keys:keys", "Who may use the API and the dashboard."),
    "schedule": ("hermes_cron.cli.schedule:schedule", "Explain a schedule before you use it."),
    "simulate": ("hermes_cron.cli.simulate:simulate", "Let time pass over your jobs: what would become of them."),
    "fire": ("hermes_cron.cli.fire:fire", "Sign and send one test fire, and see why it is refused."),
    "doctor": ("hermes_cron.cli.doctor:doctor", "Look for what is wrong, and say what to do."),
    "config": ("hermes_cron.cli.config:config", "Show the settings in force, or check them."),
    "providers": ("hermes_cron.cli.providers:providers", "Who can wake us."),
    "openapi": ("hermes_cron.cli.openapi:openapi", "The API's OpenAPI document."),
}


_GARBAGE = 10_000
"""How many new objects there are before garbage is looked for. By Python's 700 it is looked for eighty times while the
library of a store, which comes later, is loaded; that is a twentieth of `jobs list`."""


class Lazy(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which one needs them."""
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; one that is none is answered with what it may have meant."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            ctx.fail(f"There is no command {name[:60]!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that has left, as `head` does, had what it wanted."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _drop_answer()
            return 0

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported."""
        if cmd_name not in COMMANDS:
            return None
        command = _loaded(COMMANDS[cmd_name][0])
        # What is loaded stays: it need not be looked through again, at the end least of all.
        gc.freeze()
        gc.set_threshold(_GARBAGE)
        gc.enable()
        assert isinstance(command, click.Command)  # noqa: S101 - a slip in the table above is ours.
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, without an import."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-A", "--app", default="", envvar="HERMES_CRON_APP", show_envvar=True, help="Your app, module:attr.")
@click.option(
    "--config", "path", default=None, envvar="HERMES_CRON_CONFIG", show_envvar=True, metavar="FILE",
    help="The configuration file; else config.yaml in $HERMES_CRON_HOME.",
)  # fmt: skip
@click.option(
    "--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Set one key, like broker.queue=q; repeatable."
)
@click.option("--lenient", is_flag=True, help="Pass over top-level keys of another program in the file.")
@click.option("--log-level", default="", envvar="HERMES_CRON_LOG_LEVEL", show_envvar=True, metavar="LEVEL",
              help="debug, info, warning or error.")  # fmt: skip
@click.version_option(__version__, prog_name="hermes-cron")
@click.pass_context
def cli(
    ctx: click.Context, app: str, path: str | None, pairs: tuple[str, ...], lenient: bool, log_level: str
) -> None:  # fmt: skip
    """Scale-to-zero cron you can trust.

    Every key of the configuration is also an environment variable: HERMES_CRON_ and its path with __,
    like HERMES_CRON_BROKER__URL. `hermes-cron config show` lists them all.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    # It brings all the wiring along, which help has no need of.
    ctx.obj = _loaded("hermes_cron.cli.session:Session")(app, path, pairs, lenient, log_level)


def _loaded(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def main() -> None:
    """Run the command line: errors become one sentence on stderr and an exit code of `surface`."""
    _open_what_is_closed()
    code = _run()
    gc.freeze()
    sys.exit(code)


def _open_what_is_closed() -> None:
    # What is opened next, a store or a socket, would else be handed the place of a stream that our parent has closed.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - open till the end.


def _run() -> int:
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        said = error.format_message()
        if said.startswith("Usage:"):
            # A group without a command: its help is what click has to say.
            click.echo(said, err=True)
        else:
            _refuse(_usage_words(error, " ".join(said.split())), "usage_invalid")
        return error.exit_code
    except HermesCronError as error:
        _refuse(str(error), error.code)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return 130
    except OSError as error:
        # What arose within is one of our errors by now: this is the way to the terminal.
        _refuse(
            f"The answer cannot be written: {error.strerror or error}. What was asked for may be done.", "answer_lost"
        )
        _drop_answer()
        return 1
    return code if isinstance(code, int) else 0


def _refuse(words: str, code: str) -> None:
    color = False if os.environ.get("NO_COLOR") else None
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {one_line(words)} [{code}]", err=True, color=color)


def _usage_words(error: click.ClickException, said: str) -> str:
    """What click says, and where to read on: it would take four lines for that."""
    words = said if said.endswith((".", "?", ")")) else f"{said}."
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return words
    if isinstance(error, click.NoSuchOption) and any(error.option_name in one.opts for one in cli.params):
        _, *command = context.command_path.split()
        hint = f"It stands before the command: `hermes-cron {error.option_name} ... {' '.join(command)}`."
        return f"No option {error.option_name!r} here. {hint}"
    return f"{words} `{context.command_path} --help` has all of it."


def _drop_answer() -> None:
    # What is left in the buffer would be written once more at exit, fail once more, and end the process with 120.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
