"""`Database`: transactions on one SQL database, each with a deadline, and its errors in our words."""

from __future__ import annotations

import enum
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, cast

from sqlalchemy import ColumnElement, Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from hermes_cron.clock import monotonic
from hermes_cron.errors import StoreBusy, StoreError
from hermes_cron.failpoints import failpoint
from hermes_cron.store import migrations
from hermes_cron.store.gate import Gate

T = TypeVar("T")
_log = logging.getLogger("hermes_cron.store")
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05

_INHERITED: list[Engine] = []
"""What a child of a fork must never touch, not even to give it back to the memory: that would close it."""


class Fault(enum.Enum):
    """What an error of the database means for who asked."""

    BUSY = enum.auto()
    """Somebody else is in the way, and nothing was written: the same may succeed in a moment."""
    LOST = enum.auto()
    """The connection broke: a new one may do."""
    OTHER = enum.auto()


class Dialect(Protocol):
    """What differs between SQLite and PostgreSQL. `where` names the database in errors, without a secret."""

    where: str
    read_options: Mapping[str, Any]
    write_options: Mapping[str, Any]

    def engine(self) -> Engine:
        """A new engine, whose connections take `read_options` or `write_options`; it opens nothing yet."""

    def check(self) -> None:
        """Look at what can be seen before connecting; raises StoreError or ConfigError."""

    def lock_schema(self, connection: Connection) -> None:
        """Hold off every other migration until this transaction ends."""

    def patient(self, connection: Connection) -> AbstractContextManager[None]:
        """Let statements take minutes, for a migration."""

    def lock_job(self, connection: Connection, job_id: str, seconds: float) -> None:
        """Hold the job, known or not, and the flag of a global stop as it is, until this transaction ends."""

    def lock_stop(self, connection: Connection, seconds: float) -> None:
        """Wait for every transaction that may have read the flag of a global stop, and hold off new ones."""

    def clock(self) -> ColumnElement[int]:
        """The store's time at this very moment, in microseconds."""

    def statement_clock(self) -> ColumnElement[int]:
        """The same for a question: one value for a whole statement, so that indexes can be searched with it."""

    def fault(self, error: DBAPIError) -> Fault:
        """What kind of error this is."""

    def receipt(self, connection: Connection) -> int | None:
        """By what `committed` finds this transaction again; None where it wrote nothing, or a commit cannot be lost."""

    def committed(self, connection: Connection, receipt: int) -> bool | None:
        """Whether the transaction of this receipt was committed; None while that is not decided."""

    def explain(self, error: SQLAlchemyError) -> StoreError:
        """The error in our words: what, where, what to do."""


class Database:
    """One database: how to read it and how to change it, within the deadline, from any thread, across forks."""

    def __init__(self, dialect: Dialect, deadline: float) -> None:
        self.dialect = dialect
        self._deadline = deadline
        self._lock = threading.Lock()
        self._engine: Engine | None = dialect.engine()
        self._prepared = False
        self._gate = Gate(self._dispose, self._abandon)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Ask within one snapshot.

        Raises:
            StoreError: The database cannot be reached or read; StoreBusy when it is locked for too long.
        """
        return self._within(lambda until: self._reading(work))

    def write(self, work: Callable[[Connection, float], T]) -> T:
        """Change something in one transaction, which `work` may have to do again; it is handed the seconds it has left.

        Raises:
            StoreError: The database cannot be reached or written; StoreBusy when it is locked for too long.
        """
        return self._within(lambda until: self._writing(lambda c: work(c, max(until - monotonic(), 0.001))))

    def close(self) -> None:
        """Give back every connection; a later use opens new ones."""
        with self._gate:
            self._dispose()

    def _within(self, attempt: Callable[[float], T]) -> T:
        until = monotonic() + self._deadline
        pause, reconnected = _FIRST_PAUSE_S, False
        while True:
            try:
                with self._gate:
                    self._prepare()
                    return attempt(until)
            except _CommitLost as lost:
                if self._came_through(lost, until):
                    return cast("T", lost.answer)
            except SQLAlchemyError as error:
                fault = self._fault(error)
                again = fault is Fault.BUSY or (fault is Fault.LOST and not reconnected)
                if not again or monotonic() >= until:
                    raise self._translated(error, fault) from error
                reconnected = reconnected or fault is Fault.LOST
            longest = min(pause, max(until - monotonic(), 0.0))
            time.sleep(random.uniform(0, longest))  # noqa: S311 - it spreads out callers, and guards nothing.
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _reading(self, work: Callable[[Connection], T]) -> T:
        with self._connected() as plain:
            connection = plain.execution_options(**self.dialect.read_options)
            with connection.begin():
                return work(connection)

    def _writing(self, work: Callable[[Connection], T]) -> T:
        with self._connected() as plain:
            connection = plain.execution_options(**self.dialect.write_options)
            with connection.begin() as transaction:
                answer = work(connection)
                receipt = self.dialect.receipt(connection)
                failpoint("store.before_commit")
                try:
                    transaction.commit()
                except DBAPIError as error:
                    if self.dialect.fault(error) is Fault.LOST:
                        raise _CommitLost(error, receipt, answer) from error
                    raise
                failpoint("store.after_commit")
                return answer

    def _came_through(self, lost: _CommitLost, until: float) -> bool:
        """Whether a commit took effect whose answer was lost: a step must not be applied twice, nor given up."""
        receipt = lost.receipt
        if receipt is None:
            return False
        while monotonic() < until:
            try:
                with self._gate:
                    done = self._reading(lambda connection: self.dialect.committed(connection, receipt))
                if done is not None:
                    return done
            except SQLAlchemyError:
                _log.debug("the store %s does not tell yet whether a commit took effect", self.dialect.where)
            time.sleep(_LONGEST_PAUSE_S)
        raise self._unknown(lost.error) from lost.error

    def _prepare(self) -> None:
        if self._prepared:
            return
        self.dialect.check()
        if not self._reading(lambda connection: migrations.current(connection, self.dialect)):
            self._writing(lambda connection: migrations.migrate(connection, self.dialect))
        self._prepared = True

    def _fault(self, error: SQLAlchemyError) -> Fault:
        if isinstance(error, PoolTimeout):
            return Fault.BUSY
        return self.dialect.fault(error) if isinstance(error, DBAPIError) else Fault.OTHER

    def _translated(self, error: SQLAlchemyError, fault: Fault) -> StoreError:
        if fault is Fault.BUSY:
            message = f"The store {self.dialect.where} was held by somebody else for {self._deadline:g} s."
            return StoreBusy(message, hint="Try again.")
        return self.dialect.explain(error)

    def _unknown(self, error: DBAPIError) -> StoreError:
        detail = self.dialect.explain(error).message
        return StoreError(f"{detail} Whether the change was still written is not known.", hint="Look, then try again.")

    def _connected(self) -> Connection:
        with self._lock:
            if self._engine is None:
                self._engine = self.dialect.engine()
        return self._engine.connect()

    def _dispose(self) -> None:
        if self._engine is not None:
            self._engine.dispose()

    def _abandon(self) -> None:
        self._lock = threading.Lock()
        if self._engine is not None:
            _INHERITED.append(self._engine)
            self._engine = None


class _CommitLost(Exception):
    """The connection broke while a change was being committed."""

    def __init__(self, error: DBAPIError, receipt: int | None, answer: object) -> None:
        super().__init__(str(error))
        self.error = error
        self.receipt = receipt
        self.answer = answer
