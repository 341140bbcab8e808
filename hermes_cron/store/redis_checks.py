"""Is this Redis server one that keeps what it is given? Looked at once, before the first use."""

from __future__ import annotations

import logging
from typing import Any

import redis

from hermes_cron.errors import ConfigError
from hermes_cron.store.redis_url import Place

_log = logging.getLogger("hermes_cron.store")
_told: set[tuple[str, str]] = set()


def check(client: Any, place: Place) -> None:
    """Refuse a server that would drop what it keeps, and warn of one that may lose it.

    Raises:
        ConfigError: It is part of a cluster, or drops keys when its memory is full.
    """
    try:
        about = client.info()
    except redis.ResponseError as error:
        _warn(place, f"does not tell its settings ({error}): its maxmemory-policy must be noeviction, and it should "
                     "keep an append-only file")  # fmt: skip
        return
    if about.get("cluster_enabled"):
        raise ConfigError(
            f"The store {place.where} is part of a Redis cluster, which cannot keep the store.",
            hint="Name a Redis server that is none.", field="store.url",
        )  # fmt: skip
    _check_memory(about, place)
    if not about.get("aof_enabled", 0):
        _warn(place, "has no append-only file (appendonly no): when it restarts, jobs, arms and ledger may be gone")


def _check_memory(about: dict[str, Any], place: Place) -> None:
    policy = str(about.get("maxmemory_policy", ""))
    if not policy:
        _warn(place, "does not tell its maxmemory-policy: it must be noeviction")
    elif policy != "noeviction" and about.get("maxmemory", 0):
        raise ConfigError(
            f"The store {place.where} drops keys when its memory is full (maxmemory-policy {policy}).",
            hint="Set maxmemory-policy to noeviction there, or name another server.", field="store.url",
        )  # fmt: skip
    elif policy != "noeviction":
        _warn(place, f"would drop keys once it is given a maxmemory (maxmemory-policy {policy}); set it to noeviction")


def _warn(place: Place, what: str) -> None:
    if (place.where, what) not in _told:
        _told.add((place.where, what))
        _log.warning("the store %s %s", place.where, what)
