"""`Server`: our scripts on one Redis server, each call with a deadline, and its errors in our words.

redis-py repeats nothing by itself here: it cannot know whether a script that was sent was also run. What is tried
again, and after what question, is decided in `within` and `Server.came_through`.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from hermes_cron.clock import monotonic
from hermes_cron.errors import StoreBusy, StoreError
from hermes_cron.store.gate import Gate
from hermes_cron.store.redis_checks import check
from hermes_cron.store.redis_faults import Fault, explain, fault_of
from hermes_cron.store.redis_url import Place

T = TypeVar("T")
_log = logging.getLogger("hermes_cron.store")

STEPS: tuple[str, ...] = ("to_2",)
"""The scripts that lead from schema 1 to 2, from 2 to 3, and so on.

Each does a little of its step at a time, so that nobody waits long for the server, and may be run by several processes
at once, beside those of the old schema. The one that finds nothing left notes the step done.
"""

VERSION = 1 + len(STEPS)

_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05


class Held(Exception):
    """Somebody else is in the way, and nothing was written: the same may succeed in a moment."""


class Server:
    """One Redis server: how to run our scripts on it, from any thread, across forks."""

    def __init__(self, place: Place, deadline: float) -> None:
        self.where = place.where
        self._place = place
        self._deadline = deadline
        # Three calls fit into the deadline, so that after one that was not answered it can be asked what became of it.
        self._patience = deadline / 3
        self._client = self._made()
        self._sent: set[str] = set()
        self._checked = self._prepared = False
        self._gate = Gate(self._disconnect, self._abandon)

    def within(self, attempt: Callable[[float], T]) -> T:
        """Do what may have to be tried again, within the deadline; `attempt` is told when that is.

        Raises:
            StoreError: The server cannot be reached, or refuses; StoreBusy when somebody was in the way for too long.
        """
        until = monotonic() + self._deadline
        pause, reconnected = _FIRST_PAUSE_S, False
        while True:
            try:
                with self._gate:
                    self._prepare(until)
                    return attempt(until)
            except Held as held:
                if monotonic() >= until:
                    raise self._busy() from held
            except redis.RedisError as error:
                fault = fault_of(error)
                if fault is Fault.LOST:
                    self._disconnect()
                again = fault is Fault.WAIT or (fault is Fault.LOST and not reconnected)
                if not again or monotonic() + self._patience > until:
                    raise explain(error, self._place) from error
                reconnected = reconnected or fault is Fault.LOST
            pause = _rest(pause, until)

    def ask(self, script: str, *arguments: str | int) -> list[Any]:
        """The answer to a question; it may be asked again.

        Raises:
            StoreError: The server cannot be reached, or refuses.
        """
        return self.within(lambda until: self.run(script, *arguments))

    def run(self, script: str, *arguments: str | int) -> list[Any]:
        """Run a script once, and answer what it answered.

        Raises:
            Held: Somebody else is in the way.
            StoreError: The store is not one of this schema.
            RedisError: It was not run, or the answer did not come.
        """
        answer = self._evaluate(script, VERSION, *arguments)
        if answer[0] == "held":
            raise Held
        if answer[0] == "schema":
            raise self._other_schema(answer[1])
        return answer

    def came_through(self, error: redis.RedisError, until: float, *recall: str | int) -> bool:
        """Whether a change was written whose answer was lost; if not, it never will be.

        Raises:
            StoreError: That cannot be found out within the deadline.
        """
        pause = _FIRST_PAUSE_S
        while monotonic() + self._patience <= until:
            self._disconnect()
            try:
                return bool(self.run("recall", *recall)[0] == "done")
            except redis.RedisError as fault:
                _log.debug("the store %s does not tell yet whether a change was written: %s", self.where, fault)
            pause = _rest(pause, until)
        # Until the deadline the write may still come through; what it is said to be has to stay so.
        time.sleep(max(until - monotonic(), 0.0))
        detail = explain(error, self._place).message
        message = f"{detail} Whether the change was still written is not known."
        raise StoreError(message, hint="Look, then try again.") from error

    def close(self) -> None:
        """Give back every connection; a later use opens new ones."""
        with self._gate:
            self._disconnect()

    def _evaluate(self, script: str, *arguments: str | int) -> list[Any]:
        source, digest = _script(script)
        given = (1, f"{self._place.prefix}meta", self._place.prefix, *arguments)
        if script in self._sent:
            try:
                return list(self._client.execute_command("EVALSHA", digest, *given))
            except NoScriptError:
                _log.debug("the store %s has forgotten the script %s", self.where, script)
        answer = self._client.execute_command("EVAL", source, *given)
        self._sent.add(script)
        return list(answer)

    def _prepare(self, until: float) -> None:
        if self._prepared:
            return
        if not self._checked:
            check(self._client, self._place)
            self._checked = True
        status, found = self._evaluate("open", VERSION)
        if status == "foreign":
            hint = "Give hermes-cron a prefix of its own in store.url: ?prefix=NAME:"
            raise StoreError(f"The key {found!r} at {self.where} belongs to another program.", hint=hint)
        for step in STEPS[max(0, int(found) - 1) :]:
            while self._evaluate(step, VERSION)[0] == "more":
                if monotonic() >= until:
                    message = f"The store {self.where} is being brought to a newer schema, which takes a while."
                    raise StoreBusy(message, hint="Try again: it goes on from where it is.")
        self._prepared = True

    def _other_schema(self, found: str) -> StoreError:
        if found and int(found) > VERSION:
            return StoreError(
                f"The store {self.where} was made by a newer hermes-cron (schema {found}; this one knows {VERSION}).",
                hint="Upgrade this hermes-cron, or give it another store.url.",
            )
        return StoreError(
            f"The store {self.where} has lost what it kept: it was emptied, or restarted without its file.",
            hint="Restore a backup of it; or start this process again, to begin anew with an empty store.",
        )

    def _busy(self) -> StoreBusy:
        message = f"The store {self.where} was held by somebody else for {self._deadline:g} s."
        return StoreBusy(message, hint="Try again.")

    def _made(self) -> Any:
        pool = redis.ConnectionPool(
            connection_class=redis.SSLConnection if self._place.tls else redis.Connection,
            retry=Retry(NoBackoff(), 0), socket_timeout=self._patience, socket_connect_timeout=self._patience,
            socket_keepalive=True, client_name="hermes-cron", protocol=2, decode_responses=True,
            encoding_errors="replace", **self._place.options,
        )  # fmt: skip
        return redis.Redis(connection_pool=pool)

    def _disconnect(self) -> None:
        self._client.connection_pool.disconnect(inuse_connections=False)

    def _abandon(self) -> None:
        self._client = self._made()


def _rest(pause: float, until: float) -> float:
    longest = min(pause, max(until - monotonic(), 0.0))
    time.sleep(random.uniform(0, longest))  # noqa: S311 - it spreads out callers, and guards nothing.
    return min(2 * pause, _LONGEST_PAUSE_S)


@cache
def _script(name: str) -> tuple[str, str]:
    """The text of a script, with what stands before each, and its digest."""
    folder = files("hermes_cron.store") / "lua"
    parts = ["prelude", name] if name == "open" or name in STEPS else ["prelude", "schema", name]
    source = "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
