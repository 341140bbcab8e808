"""PostgreSQL through psycopg 3: for workers on more than one host."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import BigInteger, ColumnElement, Connection, Engine, create_engine, event, extract, func, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from hermes_cron.clock import monotonic
from hermes_cron.errors import ConfigError, StoreError
from hermes_cron.store.database import Database, Fault
from hermes_cron.store.sql import SqlStore
from hermes_cron.store.tables import METADATA

try:
    import psycopg
except ImportError as missing:
    raise ConfigError(
        "A postgresql:// store needs psycopg, which is not installed here.",
        hint="Install hermes-cron with its extra: pip install 'hermes-cron[postgres]'.",
        field="store.url",
    ) from missing

for _table in METADATA.tables.values():
    for _index in _table.indexes:
        if "where" in _index.info:
            _index.dialect_options["postgresql"]["where"] = _index.info["where"]

_GRACE_S = 0.5
"""How much longer than the server we wait: it ends a statement at the deadline, and has to tell us so."""

_MIGRATION_S = 600
"""How long a statement of a migration may take."""

_BUSY = frozenset({"40001", "40P01", "55P03", "57014"})
"""Serialization failure, deadlock, lock timeout, statement timeout (PostgreSQL, appendix A)."""

_STOP_LOCK = 0x6865726D65730001
_SCHEMA_LOCK = 0x6865726D65730002
"""Keys of advisory locks: the flag of a global stop, and the schema. A job's key is the hash of its id."""


def open_postgres(url: str, *, deadline: float) -> SqlStore:
    """The store in a PostgreSQL database.

    Raises:
        ConfigError: The URL cannot be read.
    """
    try:
        parts = make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError) as error:
        # The URL itself is not repeated, for it may hold a password.
        message = "store.url cannot be read; write postgresql://USER@HOST/DATABASE."
        raise ConfigError(message, field="store.url") from error
    return SqlStore(Database(Postgres(parts, deadline), deadline))


class Postgres:
    """The dialect of PostgreSQL: advisory locks, which hold an id whether it has a row or not."""

    read_options: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    write_options: Mapping[str, Any] = {"isolation_level": "READ COMMITTED", "postgresql_readonly": False}

    def __init__(self, url: URL, deadline: float) -> None:
        host = url.host or url.query.get("host", "the local socket")
        self.where = f"postgresql://{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"
        self._url = url
        self._deadline = deadline

    def engine(self) -> Engine:
        """A new engine; it opens nothing yet."""
        engine = create_engine(
            self._url, pool_size=5, max_overflow=5, pool_timeout=self._deadline, hide_parameters=True,
            connect_args={
                "connect_timeout": max(2, round(self._deadline)),
                "application_name": self._url.query.get("application_name", "hermes-cron"),
            },
        )  # fmt: skip
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "connect", self._connected)
        return engine

    def check(self) -> None:
        """Nothing can be seen before connecting."""

    def lock_schema(self, connection: Connection) -> None:
        """Hold off every other migration until this transaction ends."""
        connection.execute(select(func.pg_advisory_xact_lock(_SCHEMA_LOCK)))

    @contextmanager
    def patient(self, connection: Connection) -> Iterator[None]:
        """Let statements take minutes: the server, and we who wait for it."""
        raw = cast("BoundedConnection", connection.connection.driver_connection)
        connection.execute(select(func.set_config("statement_timeout", str(_MIGRATION_S * 1000), True)))
        raw.patience = _MIGRATION_S + _GRACE_S
        try:
            yield
        finally:
            raw.patience = self._deadline + _GRACE_S

    def lock_job(self, connection: Connection, job_id: str, seconds: float) -> None:
        """Hold the job, and share the flag: always in this order, so that nobody waits in a circle."""
        # I15: who changes the flag waits for us, and who comes after waits for them, as this lock is a fair queue.
        key = int.from_bytes(hashlib.blake2b(job_id.encode(), digest_size=8).digest(), signed=True)
        locks = select(
            _lock_timeout(seconds), func.pg_advisory_xact_lock_shared(_STOP_LOCK), func.pg_advisory_xact_lock(key)
        )
        connection.execute(locks)

    def lock_stop(self, connection: Connection, seconds: float) -> None:
        """Wait for every transaction that may have read the flag, and hold off new ones."""
        connection.execute(select(_lock_timeout(seconds), func.pg_advisory_xact_lock(_STOP_LOCK)))

    def clock(self) -> ColumnElement[int]:
        """The server's time at this very moment."""
        return _micros(func.clock_timestamp())

    def statement_clock(self) -> ColumnElement[int]:
        """The server's time when the statement began; unlike `clock` it can be searched for in an index."""
        return _micros(func.statement_timestamp())

    def fault(self, error: DBAPIError) -> Fault:
        """By the server's SQLSTATE, or by what became of the connection."""
        if getattr(error.orig, "sqlstate", None) in _BUSY:
            return Fault.BUSY
        return Fault.LOST if error.connection_invalidated else Fault.OTHER

    def receipt(self, connection: Connection) -> int | None:
        """The transaction's id; None where it wrote nothing."""
        return connection.execute(select(func.txid_current_if_assigned(type_=BigInteger))).scalar()

    def committed(self, connection: Connection, receipt: int) -> bool | None:
        """What the server says became of that id; None while it is in progress, or too old to be known."""
        status = connection.execute(select(func.txid_status(sql_cast(receipt, BigInteger)))).scalar()
        return {"committed": True, "aborted": False}.get(status or "")

    def explain(self, error: SQLAlchemyError) -> StoreError:
        """What, where, what to do."""
        lines = str(error.orig).strip().splitlines() if isinstance(error, DBAPIError) else []
        detail = lines[0] if lines else type(error).__name__
        if self._url.password:
            detail = detail.replace(str(self._url.password), "***")
        hint = "Look whether the server runs, and whether store.url names it, its database and its user."
        return StoreError(f"The store {self.where} failed: {detail}.", hint=hint)

    def _connect(
        self, dialect: object, record: object, args: Any, parameters: dict[str, Any]
    ) -> psycopg.Connection[Any]:
        connection = BoundedConnection.connect(*args, **parameters)
        connection.patience = self._deadline + _GRACE_S
        return connection

    def _connected(self, connection: psycopg.Connection[Any], record: object) -> None:
        millis = str(round(self._deadline * 1000))
        connection.autocommit = True
        settings = {"statement_timeout": millis, "idle_in_transaction_session_timeout": millis, "TimeZone": "UTC"}
        for name, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        # A claim that was granted must be there after a crash of the server, whatever its default is.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        connection.autocommit = False


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that waits `patience` seconds for an answer, then breaks: a frozen server ends no statement."""

    patience = 10.0

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        """Wait as psycopg does, but not for ever.

        Raises:
            psycopg.OperationalError: There was no answer in time; the connection is closed.
        """
        return super().wait(self._bounded(gen), *args, **options)

    def _bounded(self, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        until = monotonic() + self.patience
        try:
            wanted = next(generator)
            while True:
                ready = yield wanted
                if not ready and monotonic() > until:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("no answer within the deadline")
                wanted = generator.send(ready)
        except StopIteration as stop:
            return stop.value


def _lock_timeout(seconds: float) -> ColumnElement[str]:
    return cast("ColumnElement[str]", func.set_config("lock_timeout", str(max(1, round(seconds * 1000))), True))


def _micros(instant: ColumnElement[Any]) -> ColumnElement[int]:
    return sql_cast(extract("epoch", instant) * 1_000_000, BigInteger)
