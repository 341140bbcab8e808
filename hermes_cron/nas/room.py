"""A NAS, put together: `open_nas` is the door for the command, for tests and for the demo."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hermes_cron.clock import Clock, utc_now
from hermes_cron.errors import ConfigError
from hermes_cron.nas import keys as signing
from hermes_cron.nas.agents import Agents
from hermes_cron.nas.app import make_app
from hermes_cron.nas.book import Book
from hermes_cron.nas.callback import Callbacks
from hermes_cron.nas.database import Database, lock_home, make_home
from hermes_cron.nas.delivery import Delivery
from hermes_cron.nas.endpoint import Parts
from hermes_cron.nas.keys import KeyRing
from hermes_cron.nas.limits import QUOTA, Limits
from hermes_cron.nas.signature import Signatures, read_secret
from hermes_cron.nas.timer import SLOTS, Timer
from hermes_cron.outbound import Outbound, any_address, is_public
from hermes_cron.settings import Secret, base_url

SETTLE_S = 60.0
STOP_S = 2.0

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Nas:
    """One NAS of this process: `app` serves its calls, `agents` and `keys` are its people and its seals."""

    def __init__(self, parts: Parts, outbound: Outbound, closing: ExitStack) -> None:
        self.app: WsgiApp = make_app(parts)
        self.agents = parts.agents
        self.keys = parts.keys
        self._timer = parts.timer
        self._outbound = outbound
        self._closing = closing

    def start(self) -> None:
        """Begin to deliver; what came due while nobody served is delivered first."""
        self._outbound.open()
        self._timer.start()

    def stop(self, seconds: float = STOP_S) -> None:
        """Begin no delivery any more, give those under way so many seconds, and close the files.

        A delivery that is cut off is made again by who serves next.
        """
        self._timer.stop(seconds)
        self._outbound.close()
        self._closing.close()


def open_nas(
    home: Path, public_url: str, *, allow_private_callbacks: bool = False, settle: float = SETTLE_S,
    relay_secret: Secret | None = None, limits: Limits | None = None, quota: int = QUOTA, clock: Clock = utc_now,
    locked: bool = False,
) -> Nas:  # fmt: skip
    """The NAS in a folder, which is made with a first key if need be; it delivers once it is started.

    `public_url` is where agents reach it, and the issuer of its tokens. `locked` says that the caller holds the
    folder's lock already (`lock_home`); else this takes it until `stop`.

    Raises:
        ConfigError: A URL or a secret is wrong, or others may read the key file.
        StoreBusy: Another server has the folder.
        StoreError: The folder or the state in it cannot be used.
    """
    issuer = read_public_url(public_url)
    secret = read_secret(relay_secret) if relay_secret else None
    with ExitStack() as stack:
        if not locked:
            stack.enter_context(lock_home(home))
        database = Database(home)
        stack.callback(database.close)
        keys = first_key(home, clock)
        outbound = Outbound(any_address if allow_private_callbacks else is_public, connections=SLOTS)
        book = Book(database, clock, settle=settle, quota=quota)
        timer = Timer(book, Delivery(issuer, keys, outbound, clock), clock)
        callbacks = Callbacks(None if allow_private_callbacks else is_public)
        parts = Parts(
            Agents(database, clock), book, callbacks, keys, limits or Limits(), Signatures(secret, clock), timer,
            clock, settle,
        )  # fmt: skip
        return Nas(parts, outbound, stack.pop_all())


def open_agents(home: Path, clock: Clock = utc_now) -> tuple[Agents, Callable[[], None]]:
    """The agents of the NAS in a folder, beside a server that may run, and how to close them."""
    database = Database(home)
    return Agents(database, clock), database.close


def open_keys(home: Path, clock: Clock = utc_now) -> KeyRing:
    """The keys of the NAS in a folder, beside a server that may run."""
    make_home(home)
    return KeyRing(home, clock)


def first_key(home: Path, clock: Clock) -> KeyRing:
    """The keys in a folder; a first one is made where there is no key file."""
    ring = open_keys(home, clock)
    if not (home / signing.FILE).exists():
        ring.new("ES256")
    # This also loads the keys, and does so before the first fire is due.
    ring.jwks()
    return ring


def read_public_url(text: str) -> str:
    """The URL at which agents reach NAS, without a slash at its end: it is compared to the letter, as `iss`.

    Raises:
        ConfigError: It is none.
    """
    try:
        return base_url(text)
    except ValueError as error:
        raise ConfigError(f"The public URL {error}.", field="public_url") from error
