"""NAS's state in one SQLite file for its owner's eyes only: write-ahead log, full synchronisation, one writer.

Reads have a connection of their own, so that a fire that is due never waits for another row to reach the disk.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from hermes_cron.clock import monotonic
from hermes_cron.errors import StoreBusy, StoreError
from hermes_cron.privacy import make_folder

FILE = "nas.db"
LOCK = "nas.lock"
BUSY_S = 2.0
"""Seconds to wait for the threads of this process that write, and then for another process that does."""

_FIRST = (
    """
    CREATE TABLE agents (
      id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, audience TEXT NOT NULL,
      token_sha256 TEXT NOT NULL UNIQUE, added_at INTEGER NOT NULL, revoked_at INTEGER
    ) STRICT
    """,
    "CREATE UNIQUE INDEX agents_live ON agents (name) WHERE revoked_at IS NULL",
    """
    CREATE TABLE arms (
      agent_id INTEGER NOT NULL REFERENCES agents (id), job_id TEXT NOT NULL, schedule_id TEXT NOT NULL UNIQUE,
      fire_at INTEGER NOT NULL, callback_url TEXT NOT NULL, state TEXT NOT NULL, due_at INTEGER, since INTEGER,
      failures INTEGER NOT NULL, deliveries INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (agent_id, job_id)
    ) STRICT
    """,
    "CREATE INDEX arms_due ON arms (due_at, agent_id) WHERE due_at IS NOT NULL",
    "CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT",
    "INSERT INTO schema_version VALUES (0)",
)
_SUMS = (
    # How much each agent holds and when the first of it is due stand with the agent: else every call and every
    # delivery would have to go through all of its arms.
    "CREATE INDEX arms_of ON arms (agent_id, due_at) WHERE due_at IS NOT NULL",
    "ALTER TABLE agents ADD COLUMN held INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE agents ADD COLUMN due_at INTEGER",
    """
    UPDATE agents SET
      held = (SELECT count(*) FROM arms WHERE agent_id = agents.id),
      due_at = (SELECT min(due_at) FROM arms WHERE agent_id = agents.id AND due_at IS NOT NULL)
    """,
    "CREATE INDEX agents_due ON agents (due_at) WHERE due_at IS NOT NULL",
    """
    CREATE TRIGGER arm_came AFTER INSERT ON arms BEGIN
      UPDATE agents SET
        held = held + 1,
        due_at = (SELECT min(due_at) FROM arms WHERE agent_id = NEW.agent_id AND due_at IS NOT NULL)
      WHERE id = NEW.agent_id;
    END
    """,
    """
    CREATE TRIGGER arm_moved AFTER UPDATE OF due_at ON arms WHEN OLD.due_at IS NOT NEW.due_at BEGIN
      UPDATE agents SET
        due_at = (SELECT min(due_at) FROM arms WHERE agent_id = NEW.agent_id AND due_at IS NOT NULL)
      WHERE id = NEW.agent_id;
    END
    """,
    """
    CREATE TRIGGER arm_went AFTER DELETE ON arms BEGIN
      UPDATE agents SET
        held = held - 1,
        due_at = (SELECT min(due_at) FROM arms WHERE agent_id = OLD.agent_id AND due_at IS NOT NULL)
      WHERE id = OLD.agent_id;
    END
    """,
)
_STEPS = (_FIRST, _SUMS)
"""What makes of each version of the schema the next one; a new file goes through them all."""

VERSION = len(_STEPS)


def make_home(home: Path) -> None:
    """Make NAS's folder, for its owner only, if need be.

    Raises:
        StoreError: It cannot be made, or others may write to it.
    """
    try:
        make_folder(home)
        others = home.stat().st_mode & 0o022
    except OSError as error:
        hint = "Give a folder that this user can make and write to."
        raise StoreError(f"The folder {home} cannot be used: {error.strerror}.", hint=hint) from error
    if others:
        raise StoreError(f"Others may write to the folder {home}.", hint=f"chmod 700 {home}")


@contextmanager
def lock_home(home: Path, *, seconds: float = 3.0) -> Iterator[None]:
    """Hold a folder for one server: the lock lasts as long as this context, or the process and its children.

    Raises:
        StoreBusy: Another server has had it for all these seconds.
        StoreError: The folder cannot be used.
    """
    make_home(home)
    path = home / LOCK
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = "Its folder must be writable for this user."
        raise StoreError(f"The lock {path} cannot be made: {error.strerror}.", hint=hint) from error
    try:
        # The children of a server that was killed need a moment to notice.
        words = f"Another NAS serves from {home} already."
        hold(handle, seconds, words, "Stop it first, or give this one another --home.")
        yield
    finally:
        os.close(handle)


def hold(handle: int, seconds: float, words: str, hint: str) -> None:
    """Take the lock of an open file, which lasts until it is closed.

    Raises:
        StoreBusy: Another process has had it for all these seconds; its text is these words.
    """
    waiting, until = threading.Event(), monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if monotonic() >= until:
                raise StoreBusy(words, hint=hint) from error
        waiting.wait(0.1)


class Database:
    """The file, opened; made first if need be. May be used from any thread."""

    def __init__(self, home: Path) -> None:
        make_home(home)
        self._path = home / FILE
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        with self._told():
            if not self._path.exists():
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            self._writer = self._connect()
            self._reader = self._connect()
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction that may write; it is on the disk when the block ends, or undone when it raises.

        Raises:
            StoreBusy: Another process kept the lock too long.
            StoreError: The file cannot be read or written.
        """
        with self._turn(self._writing), self._told():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection to ask with; every question sees all that was committed before it.

        Raises:
            StoreBusy: Other threads took too long.
            StoreError: The file cannot be read.
        """
        with self._turn(self._reading), self._told():
            yield self._reader

    def close(self) -> None:
        """Close the file. Closing twice is closing once."""
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self._path.absolute()))}?mode=rw", uri=True, timeout=BUSY_S, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def _migrate(self) -> None:
        with self.change() as connection:
            version = _version(connection)
            for statement in (statement for step in _STEPS[version:] for statement in step):
                connection.execute(statement)
            if version < VERSION:
                connection.execute("UPDATE schema_version SET version = ?", (VERSION,))
        if version > VERSION:
            message = f"The state {self._path} was made by a newer NAS (schema {version}; this one knows {VERSION})."
            raise StoreError(message, hint="Upgrade this hermes-cron, or give another --home.")

    @contextmanager
    def _turn(self, lock: threading.Lock) -> Iterator[None]:
        if not lock.acquire(timeout=BUSY_S):
            raise StoreBusy(f"The state {self._path} has no turn free.", hint="Try again.")
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _told(self) -> Iterator[None]:
        # Says what, where and what to do, in place of the driver's error.
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreBusy(f"The state {self._path} is locked by another process.", hint="Try again.") from error
            hint = "Look at the disk, at the free space on it, and at the rights of the file."
            raise StoreError(f"The state {self._path} cannot be used ({error}).", hint=hint) from error
        except OSError as error:
            hint = "Its folder must be writable for this user."
            raise StoreError(f"The state {self._path} cannot be used: {error.strerror}.", hint=hint) from error


def _version(connection: sqlite3.Connection) -> int:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone() is None:
        return 0
    return int(connection.execute("SELECT version FROM schema_version").fetchone()[0])
