"""SQLite: one file on a local disk of one host, shared by its processes (write-ahead log, full synchronisation)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import BigInteger, ColumnElement, Connection, Engine, QueuePool, create_engine, event, literal
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, SQLAlchemyError

from hermes_cron.clock import Clock, to_micros
from hermes_cron.errors import ConfigError, StoreError
from hermes_cron.store.database import Database, Fault
from hermes_cron.store.mounts import NETWORK, filesystem_of
from hermes_cron.store.sql import SqlStore

_BUSY_S = 0.05
"""How long SQLite itself polls a lock; the rest of the deadline is `Database`'s, which takes its turn more fairly."""

_ADVICE = {
    sqlite3.SQLITE_CORRUPT: ("is damaged", "Move it away and restore a backup, or start anew without it."),
    sqlite3.SQLITE_NOTADB: ("is no SQLite database", "Move it away, or give another store.url."),
    sqlite3.SQLITE_READONLY: ("cannot be written", "Its file and folder must be writable for this user."),
    sqlite3.SQLITE_PERM: ("cannot be opened", "Its file and folder must be writable for this user."),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "Its file and folder must exist and be writable for this user."),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "Free some space."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "Look at the disk, and at the free space on it."),
}


def open_sqlite(url: str, *, clock: Clock, deadline: float) -> SqlStore:
    """The store in the file of a `sqlite:///` URL.

    Raises:
        ConfigError: The URL names no file.
    """
    try:
        parts = make_url(url)
    except ArgumentError as error:
        raise ConfigError("store.url cannot be read; write sqlite:///FILE.", field="store.url") from error
    if not parts.database or parts.database == ":memory:" or parts.host or parts.query:
        hint = "An absolute path has four slashes: sqlite:////var/lib/hermes-cron.db."
        raise ConfigError("store.url must name a file, and nothing else: sqlite:///FILE.", hint=hint, field="store.url")
    return SqlStore(Database(Sqlite(Path(parts.database).expanduser().absolute(), clock), deadline))


class Sqlite:
    """The dialect of SQLite: one writer at a time, so that one lock stands for every job, the flag and the schema."""

    read_options: Mapping[str, Any] = {"hermes_begin": "BEGIN"}
    write_options: Mapping[str, Any] = {"hermes_begin": "BEGIN IMMEDIATE"}

    def __init__(self, path: Path, clock: Clock) -> None:
        self.where = str(path)
        self._path = path
        self._clock = clock

    def engine(self) -> Engine:
        """A new engine; it opens nothing yet."""
        engine = create_engine(
            "sqlite://", creator=self._connect, poolclass=QueuePool, pool_size=5, max_overflow=-1, hide_parameters=True
        )
        event.listen(engine, "begin", _begin)
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "checkout", self._checked_out)
        return engine

    def check(self) -> None:
        """Make the file, for its owner's eyes only, and its folder, if need be.

        Raises:
            ConfigError: It lies on a network file system, where SQLite's locks do not hold.
            StoreError: It cannot be made.
        """
        kind = filesystem_of(self._path)
        if kind in NETWORK:
            hint = "Use a local disk, or postgresql://."
            message = f"The store {self.where} lies on a network file system ({kind}), where its locks do not hold."
            raise ConfigError(message, hint=hint, field="store.url")
        try:
            if self._path.parent.parent.is_dir() and not self._path.parent.exists():
                self._path.parent.mkdir(0o700, exist_ok=True)
            # A file that exists is not opened here: closing it would drop the locks of this process's connections.
            if not self._path.exists():
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            hint = "Its folder must exist and be writable for this user."
            raise StoreError(f"The store {self.where} cannot be made: {error.strerror}.", hint=hint) from error

    def lock_schema(self, connection: Connection) -> None:
        """Nothing to do: BEGIN IMMEDIATE has the one lock."""

    def patient(self, connection: Connection) -> AbstractContextManager[None]:
        """Nothing to do: a statement here ends by itself."""
        return nullcontext()

    def lock_job(self, connection: Connection, job_id: str, seconds: float) -> None:
        """Nothing to do: BEGIN IMMEDIATE has the one lock."""

    def lock_stop(self, connection: Connection, seconds: float) -> None:
        """Nothing to do: BEGIN IMMEDIATE has the one lock."""

    def clock(self) -> ColumnElement[int]:
        """The machine's time, as handed in: all who share the file share the machine."""
        return literal(to_micros(self._clock()), BigInteger)

    def statement_clock(self) -> ColumnElement[int]:
        """The same."""
        return self.clock()

    def fault(self, error: DBAPIError) -> Fault:
        """A lock is BUSY; there is nothing to lose between us and a file."""
        return Fault.BUSY if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) else Fault.OTHER

    def receipt(self, connection: Connection) -> int | None:
        """None: the answer to a commit cannot be lost on the way."""
        return None

    def committed(self, connection: Connection, receipt: int) -> bool | None:
        """Never asked, as there are no receipts."""
        return None

    def explain(self, error: SQLAlchemyError) -> StoreError:
        """What, where, what to do."""
        detail = str(error.orig) if isinstance(error, DBAPIError) else type(error).__name__
        what, hint = _ADVICE.get(_code(error), ("cannot do this", ""))
        return StoreError(f"The store {self.where} {what} ({detail}).", hint=hint)

    def _connect(self) -> sqlite3.Connection:
        # A file that has gone must not come back empty: mode=rw makes none.
        return sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=rw", uri=True, timeout=_BUSY_S, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip

    def _connected(self, connection: sqlite3.Connection, record: Any) -> None:
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise StoreError(f"The store {self.where} cannot keep a write-ahead log here.", hint="Use a local disk.")
        connection.execute("PRAGMA synchronous=FULL")
        record.info["file"] = self._file()

    def _checked_out(self, connection: object, record: Any, proxy: object) -> None:
        if record.info.get("file") != self._file():
            raise DisconnectionError("the file was replaced")

    def _file(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _begin(connection: Connection) -> None:
    # The driver begins nothing by itself; a transaction that may write takes the lock at once, for one that
    # finds out later that it wants to write is refused on the spot, however long it would wait.
    connection.exec_driver_sql(connection.get_execution_options().get("hermes_begin", "BEGIN"))


def _code(error: SQLAlchemyError) -> int:
    code = getattr(error.orig, "sqlite_errorcode", 0) if isinstance(error, DBAPIError) else 0
    return int(code or 0) & 0xFF
