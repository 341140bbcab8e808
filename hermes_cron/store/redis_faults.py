"""What an error of Redis means for who asked, and how it is told."""

from __future__ import annotations

import enum
import re

import redis
from redis import exceptions

from hermes_cron.errors import StoreError
from hermes_cron.store.redis_url import Place


class Fault(enum.Enum):
    """What an error means for who asked."""

    WAIT = enum.auto()
    """The server cannot do it yet, and did nothing: the same may succeed in a moment."""
    LOST = enum.auto()
    """The connection broke, or leads to the wrong server: a new one may do. What was sent may have been done."""
    OTHER = enum.auto()


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.BusyLoadingError, "LOADING"), (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.OutOfMemoryError, "OOM"), (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.AuthenticationError, "NOAUTH"), (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.TryAgainError, "TRYAGAIN"), (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.ClusterCrossSlotError, "CROSSSLOT"), (exceptions.AskError, "MOVED"),
)  # fmt: skip
"""What Redis said, where redis-py has made a class of it and dropped the word; MOVED is a kind of ASK to it."""

_ADVICE = {
    "LOADING": ("is still reading its data from disk", "Wait until it is done."),
    "BUSY": ("is busy with a script", "Find out whose script it is (SLOWLOG GET), or wait."),
    "READONLY": ("is a read-only replica", "Name the primary in store.url."),
    "MASTERDOWN": ("is a replica that has lost its primary", "Name the primary in store.url."),
    "OOM": ("is full: its maxmemory is reached", "Raise maxmemory, or make room in it."),
    "MISCONF": ("refuses writes, as it cannot save its data", "Look at its disk, and at its log."),
    "NOREPLICAS": ("refuses writes, as too few replicas follow it", "Look at its replicas (min-replicas-to-write)."),
    "NOAUTH": ("wants another user or password", "Give both in store.url: redis://USER:PASSWORD@HOST."),
    "NOPERM": ("does not allow this user what the store needs", "Allow it the keys of the prefix, and scripting."),
    "WRONGTYPE": ("holds another program's data under our keys", "Give hermes-cron a prefix of its own: ?prefix=NAME:"),
    "MOVED": ("is part of a Redis cluster, which cannot keep the store", "Name a Redis server that is none."),
}
_ALIASES = {"CROSSSLOT": "MOVED", "CLUSTERDOWN": "MOVED", "TRYAGAIN": "MOVED", "WRONGPASS": "NOAUTH"}
_WORD = re.compile(rf"(?<![A-Z])({'|'.join([*_ADVICE, *_ALIASES])})(?![A-Z])")
_UNREACHED = ("cannot be reached", "Look whether the server runs, and whether store.url names it.")


def fault_of(error: redis.RedisError) -> Fault:
    """What kind of error this is."""
    word = _word(error)
    if word in ("LOADING", "BUSY", "MASTERDOWN"):
        return Fault.WAIT
    if word == "READONLY":
        return Fault.LOST
    broken = not word and isinstance(error, redis.ConnectionError | redis.TimeoutError)
    return Fault.LOST if broken else Fault.OTHER


def explain(error: redis.RedisError, place: Place) -> StoreError:
    """The error in our words: what, where, what to do."""
    detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if place.secret:
        detail = detail.replace(place.secret, "***")
    unknown = _UNREACHED if isinstance(error, redis.ConnectionError | redis.TimeoutError) else ("cannot do this", "")
    what, hint = _ADVICE.get(_word(error), unknown)
    return StoreError(f"The store {place.where} {what} ({detail}).", hint=hint)


def _word(error: redis.RedisError) -> str:
    """The word by which Redis names the kind of its error; empty where it said none that we know."""
    for kind, word in _WORDS:
        if isinstance(error, kind):
            return _ALIASES.get(word, word)
    # Redis 6 wraps the errors of commands in a script, so the word may stand anywhere.
    found = _WORD.search(str(error)) if isinstance(error, redis.ResponseError) else None
    return _ALIASES.get(found[1], found[1]) if found else ""
