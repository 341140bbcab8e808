"""Brings a database to the schema of this code, once, however many processes open it at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection, inspect, select, text

from hermes_cron.errors import StoreError
from hermes_cron.store.tables import FIRES_BY_PLACE, META, METADATA, OUTPUTS, RUNS_BY_FIRE, SCHEMA_VERSION, TRIMS, TURNS


def _pages_and_trims(connection: Connection) -> None:
    """The ledger is read by place, and trimmed: schema 2."""
    for name in ("fires_by_job", "fires_by_instant", "fires_by_outcome"):
        connection.execute(text(f"DROP INDEX IF EXISTS {name}"))
    for index in (*FIRES_BY_PLACE, RUNS_BY_FIRE):
        index.create(connection)
    for table in (TRIMS, TURNS):
        table.create(connection)


def _outputs(connection: Connection) -> None:
    """What runs said is kept: schema 3."""
    OUTPUTS.create(connection)


STEPS: tuple[Callable[[Connection], None], ...] = (_pages_and_trims, _outputs)
"""What leads from version 1 to 2, from 2 to 3, and so on. A new database is made whole, as of the newest version."""

VERSION = 1 + len(STEPS)


class Place(Protocol):
    """What a migration must know of the database."""

    where: str

    def lock_schema(self, connection: Connection) -> None:
        """Hold off every other migration until this transaction ends."""

    def patient(self, connection: Connection) -> AbstractContextManager[None]:
        """Let statements take minutes: to index a large ledger is no work of three seconds."""


def current(connection: Connection, place: Place) -> bool:
    """Whether the schema is the one of this code.

    Raises:
        StoreError: It is newer.
    """
    if not inspect(connection).has_table(SCHEMA_VERSION.name):
        return False
    return _checked(connection, place.where) == VERSION


def migrate(connection: Connection, place: Place) -> None:
    """Make the schema, or lead it on to this code's version, in the caller's transaction.

    Raises:
        StoreError: The schema is newer, or the database belongs to another program.
    """
    place.lock_schema(connection)
    tables = set(inspect(connection).get_table_names())
    if SCHEMA_VERSION.name not in tables:
        _make(connection, tables, place.where)
        return
    version = _checked(connection, place.where)
    if version == VERSION:
        return
    with place.patient(connection):
        for step in STEPS[version - 1 :]:
            step(connection)
    connection.execute(SCHEMA_VERSION.update().values(version=VERSION))


def _make(connection: Connection, tables: set[str], where: str) -> None:
    foreign = sorted(tables & set(METADATA.tables))
    if foreign:
        hint = "Give hermes-cron a database (PostgreSQL: or a schema) of its own."
        raise StoreError(f"The database {where} holds another program's tables ({', '.join(foreign)}).", hint=hint)
    METADATA.create_all(connection, checkfirst=False)
    connection.execute(META.insert().values(name="stopped", value=0))
    connection.execute(SCHEMA_VERSION.insert().values(version=VERSION))


def _checked(connection: Connection, where: str) -> int:
    version: int | None = connection.execute(select(SCHEMA_VERSION.c.version)).scalar()
    if version is None:
        raise StoreError(f"The store {where} has lost its schema version.", hint="Restore a backup of it.")
    if version > VERSION:
        raise StoreError(
            f"The store {where} was made by a newer hermes-cron (schema {version}; this one knows {VERSION}).",
            hint="Upgrade this hermes-cron, or give it another store.url.",
        )
    return version
