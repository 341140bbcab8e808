"""`hermes-cron nas`: the self-hosted NAS, its agents and its keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from hermes_cron.cli.session import Session, pass_session
from hermes_cron.cli.show import emit_json, emit_table
from hermes_cron.clock import instant_text, utc_now
from hermes_cron.errors import ConfigError
from hermes_cron.nas.database import lock_home
from hermes_cron.nas.keys import KEEP_S, MAKERS, OVERLAP_S, Key, KeyRing, check_private
from hermes_cron.nas.limits import CALLS_PER_SECOND, QUOTA, SECONDS_AT_ONCE, Limits
from hermes_cron.nas.room import SETTLE_S, Nas, first_key, open_agents, open_keys, open_nas, read_public_url
from hermes_cron.server import WsgiApp
from hermes_cron.server import serve as serve_app
from hermes_cron.settings import Secret, duration_seconds
from hermes_cron.settings import bind as read_bind

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., object])

_ALGORITHMS = click.Choice(list(MAKERS))


class _Reading(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only.
    """A parameter read as the configuration reads the same kind of value."""

    def __init__(self, name: str, read: Callable[[object], object]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value, or a usage error with the reader's words."""
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(f"it {error}.", param, ctx)


_SECONDS = _Reading("seconds", duration_seconds)
_BIND = _Reading("host:port", read_bind)


def _default_home() -> Path:
    return Path(os.environ.get("HERMES_CRON_HOME") or "~/.hermes-cron") / "nas"


def home_option(command: Command) -> Command:
    """`--home`, as every command of NAS takes it."""
    return click.option(
        "--home", type=click.Path(path_type=Path, file_okay=False), default=_default_home, envvar="HERMES_NAS_HOME",
        show_envvar=True, show_default="nas in $HERMES_CRON_HOME", help="The folder with NAS's state and keys.",
        callback=lambda ctx, param, value: value.expanduser(),
    )(command)  # fmt: skip


@click.group()
def nas() -> None:
    """Run your own NAS: it holds the alarms of agents that sleep, and wakes them."""


@nas.command()
@home_option
@click.option("--bind", type=_BIND, default="127.0.0.1:8090", show_default=True, envvar="HERMES_NAS_BIND",
              show_envvar=True, help="Where to listen: HOST:PORT or fd://N.")  # fmt: skip
@click.option("--public-url", default="", show_default="from --bind", envvar="HERMES_NAS_PUBLIC_URL",
              show_envvar=True, help="Where agents reach it, and the issuer of its tokens.")  # fmt: skip
@click.option("--allow-private-callbacks", is_flag=True, envvar="HERMES_NAS_ALLOW_PRIVATE_CALLBACKS",
              show_envvar=True, help="Let agents be at private and loopback addresses.")  # fmt: skip
@click.option("--settle", type=_SECONDS, default=f"{SETTLE_S:g}s", show_default=True, envvar="HERMES_NAS_SETTLE",
              show_envvar=True, help="How long a delivered fire may stay unanswered; 0: for ever.")  # fmt: skip
@click.option("--relay-secret-file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              envvar="HERMES_NAS_RELAY_SECRET_FILE", show_envvar=True,
              help="The secret with which an outside scheduler signs its calls (whsec_...).")  # fmt: skip
@click.option("--calls-per-second", type=click.IntRange(min=1), default=CALLS_PER_SECOND, show_default=True,
              envvar="HERMES_NAS_CALLS_PER_SECOND", show_envvar=True,
              help="How often one agent may call; ten seconds' worth at once.")  # fmt: skip
@click.option("--quota", type=click.IntRange(min=1), default=QUOTA, show_default=True, envvar="HERMES_NAS_QUOTA",
              show_envvar=True, help="How many alarms one agent may have.")  # fmt: skip
@pass_session
def serve(
    session: Session, home: Path, bind: str, public_url: str, allow_private_callbacks: bool, settle: float,
    relay_secret_file: Path | None, calls_per_second: int, quota: int,
) -> None:  # fmt: skip
    """Serve agents, and deliver their fires, until a signal ends it."""
    session.set_up_logging()
    url = read_public_url(public_url or _url_of(bind))
    secret = _read_secret(relay_secret_file) if relay_secret_file else None
    running: list[Nas] = []

    def make_app() -> WsgiApp:
        opened = open_nas(
            home, url, allow_private_callbacks=allow_private_callbacks, settle=settle, relay_secret=secret, quota=quota,
            limits=Limits(calls_per_second, calls_per_second * SECONDS_AT_ONCE), locked=True,
        )  # fmt: skip
        running.append(opened)
        return opened.app

    def start() -> None:
        for opened in running:
            opened.start()

    def stop() -> None:
        for opened in running:
            opened.stop()

    # The lock is taken before the fork: the process that serves inherits it, and keeps it if this one is killed.
    with lock_home(home):
        first_key(home, utc_now)
        serve_app(
            make_app, bind=bind, graceful_seconds=5, on_start=start, on_stop=stop,
            on_listen=lambda at: click.echo(f"NAS {url} listens at {at}", err=True),
        )  # fmt: skip


@nas.group()
def keys() -> None:
    """The keys that sign fire tokens."""


@keys.command("new")
@home_option
@click.option("--alg", type=_ALGORITHMS, default="ES256", show_default=True)
def keys_new(home: Path, alg: str) -> None:
    """Make a key: published at once, it signs after `keys rotate`; the first key signs at once."""
    _show_key(open_keys(home).new(alg))


@keys.command("rotate")
@home_option
@click.option("--alg", type=_ALGORITHMS, help="Of what kind the next key is. [default: the waiting one's, or as now]")
@click.option("--overlap", type=_SECONDS, default=f"{OVERLAP_S / 60:g}m", show_default=True,
              help="How long the next key is published before it signs.")  # fmt: skip
@click.option("--keep", type=_SECONDS, default=f"{KEEP_S / 3600:g}h", show_default=True,
              help="How long the old key stays published afterwards.")  # fmt: skip
def keys_rotate(home: Path, alg: str | None, overlap: float, keep: float) -> None:
    """Let another key sign, published first. For a stolen key: --overlap 0 --keep 0."""
    _show_key(open_keys(home).rotate(alg, overlap=overlap, keep=keep))


@keys.command("list")
@home_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def keys_list(home: Path, as_json: bool) -> None:
    """The published keys, and what each does now."""
    rows = [
        {"kid": key.kid, "alg": key.alg, "state": state, "made_at": instant_text(key.made_at),
         "signs_at": _text(key.signs_at), "gone_at": _text(key.gone_at)}
        for key, state in _listed(open_keys(home))
    ]  # fmt: skip
    _show(rows, as_json, ("kid", "alg", "state", "signs_at", "gone_at"), "There is no key yet.")


@nas.group()
def agents() -> None:
    """Who may arm fires here."""


@agents.command("add")
@home_option
@click.argument("name")
@click.option("--audience", required=True, help="What its fire tokens are for: its cron.chronos.expected_audience.")
@click.option("--token-file", type=click.Path(path_type=Path, dir_okay=False), help="Write the token here instead.")
def agents_add(home: Path, name: str, audience: str, token_file: Path | None) -> None:
    """Add an agent, and print its access token: this once, for only its hash is kept."""
    if token_file is not None and token_file.exists():
        hint = "Give another --token-file, or move that one away."
        raise ConfigError(f"{token_file} exists already.", hint=hint, field="token_file")
    _, token = _with_agents(home, lambda known: known.add(name, audience))
    if token_file is None:
        click.echo(token.reveal())
        return
    try:
        handle = os.open(token_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(token.reveal() + "\n")
    except OSError as error:
        _with_agents(home, lambda known: known.revoke(name))
        hint = "The agent was not added. Give a file in a folder that this user can write to."
        raise ConfigError(
            f"{token_file} cannot be written: {error.strerror}.", hint=hint, field="token_file"
        ) from error
    click.echo(f"The token of {name} is in {token_file}.", err=True)


@agents.command("list")
@home_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def agents_list(home: Path, as_json: bool) -> None:
    """All agents, and how many arms of each stand in which state."""
    states = ("armed", "trying", "unsettled", "dead")
    rows = [
        {"name": one.agent.name, "audience": one.agent.audience, "added_at": instant_text(one.agent.added_at),
         "revoked_at": _text(one.agent.revoked_at), **{state: one.arms.get(state, 0) for state in states}}
        for one in _with_agents(home, lambda known: known.listed())
    ]  # fmt: skip
    _show(
        rows,
        as_json,
        ("name", "audience", "added_at", "revoked_at", *states),
        "There is no agent yet: hermes-cron nas agents add NAME --audience AUDIENCE",
    )


@agents.command("revoke")
@home_option
@click.argument("name")
def agents_revoke(home: Path, name: str) -> None:
    """End an agent: its token is refused for good, and its arms are dead."""
    _with_agents(home, lambda known: known.revoke(name))
    click.echo(f"The agent {name} is revoked.", err=True)


def _with_agents(home: Path, act: Callable[[Any], T]) -> T:
    known, close = open_agents(home)
    try:
        return act(known)
    finally:
        close()


def _listed(ring: KeyRing) -> list[tuple[Key, str]]:
    return list(ring.listed())


def _show_key(key: Key) -> None:
    when = "once rotated to" if key.signs_at is None else f"from {instant_text(key.signs_at)} on"
    click.echo(f"The key {key.kid} ({key.alg}) signs {when}.")


def _show(rows: list[dict[str, Any]], as_json: bool, columns: tuple[str, ...], empty: str) -> None:
    if as_json:
        emit_json(rows)
    else:
        emit_table(
            [name.upper().replace("_", " ") for name in columns],
            [[row[name] for name in columns] for row in rows],
            empty,
        )


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)


def _url_of(bind: str) -> str:
    host, _, port = bind.rpartition(":")
    if "://" in bind or bind.startswith("unix:") or port == "0" or host in ("0.0.0.0", "[::]"):  # noqa: S104 - refused.
        hint = "Give --public-url https://nas.example.org"
        raise ConfigError(f"Where agents reach NAS does not follow from --bind {bind}.", hint=hint, field="public_url")
    return f"http://{bind}"


def _read_secret(path: Path) -> Secret:
    check_private(path)
    try:
        return Secret(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.", field="relay_secret_file") from error
