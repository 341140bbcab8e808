"""The store room: remembers jobs, fires and runs, and grants each fire to one claimer."""

from __future__ import annotations

from hermes_cron.clock import Clock, utc_now
from hermes_cron.errors import ConfigError
from hermes_cron.interfaces import Store

DEADLINE_S = 3.0
"""Seconds one call of a store may take in all."""

SCHEMES = ("sqlite", "postgresql", "redis", "rediss")


def open_store(url: str, *, clock: Clock = utc_now, deadline: float = DEADLINE_S) -> Store:
    """The store behind a URL: `sqlite:///file`, `postgresql://host/database` or `redis://host`. Its first use connects.

    `clock` is the store's clock where the database has none of its own (SQLite). Only the library of the URL's
    scheme is imported: what needs no store pays for none.

    Raises:
        ConfigError: The URL cannot be read, names no store we know, or needs a library that is not installed.
    """
    scheme = url.partition(":")[0].partition("+")[0].lower()
    if scheme == "sqlite":
        from hermes_cron.store import sqlite  # noqa: PLC0415 - loaded by the URL's scheme, in this one place.

        return sqlite.open_sqlite(url, clock=clock, deadline=deadline)
    if scheme in ("postgresql", "postgres"):
        from hermes_cron.store import postgres  # noqa: PLC0415 - loaded by the URL's scheme, in this one place.

        return postgres.open_postgres(url, deadline=deadline)
    if scheme in ("redis", "rediss"):
        from hermes_cron.store import redis  # noqa: PLC0415 - loaded by the URL's scheme, in this one place.

        return redis.open_redis(url, deadline=deadline)
    known = ", ".join(f"{name}://" for name in SCHEMES)
    raise ConfigError(f"store.url names no store we know; supported are {known}.", field="store.url")
