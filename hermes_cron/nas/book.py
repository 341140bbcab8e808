"""The book of arms: one row per agent and job, in NAS's file, and which of them are in delivery right now.

Nothing is locked across a delivery. A delivery remembers the `schedule_id` it began with, and changes the row at its
end only where that still stands: whatever the agent asked for meanwhile wins.
"""

from __future__ import annotations

import random
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from hermes_cron.clock import Clock, from_micros, to_micros
from hermes_cron.nas.agents import Agent, read_agent
from hermes_cron.nas.database import Database
from hermes_cron.nas.held import Ask, Held, Result, State, after, provision

_WAITING = "SELECT * FROM agents WHERE due_at <= ? AND revoked_at IS NULL AND id NOT IN ({}) ORDER BY due_at LIMIT ?"
_DUE = "SELECT * FROM arms WHERE agent_id = ? AND due_at <= ? ORDER BY due_at LIMIT ?"
_PUT = """
INSERT INTO arms
(agent_id, job_id, schedule_id, fire_at, callback_url, state, due_at, since, failures, deliveries, reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (agent_id, job_id) DO UPDATE SET
schedule_id = excluded.schedule_id, fire_at = excluded.fire_at, callback_url = excluded.callback_url,
state = excluded.state, due_at = excluded.due_at, since = excluded.since, failures = excluded.failures,
deliveries = excluded.deliveries, reason = excluded.reason
"""
_HELD = "SELECT held FROM agents WHERE id = ?"
_ONE = "SELECT * FROM arms WHERE agent_id = ? AND job_id = ?"


@dataclass(frozen=True, slots=True)
class Due:
    """An arm to deliver now, and the agent it is for."""

    held: Held
    agent: Agent


@dataclass(slots=True)
class _Left:
    """How many more arms an agent may have."""

    arms: int

    def take(self) -> bool:
        """Whether there was one more."""
        self.arms -= 1
        return self.arms >= 0


class Book:
    """The arms of all agents.

    `settle` is how many seconds a delivered fire may stay unanswered (0: it may for ever), `quota` how many arms one
    agent may have. `chance` gives numbers from 0 to 1 that spread the waits.
    """

    def __init__(
        self, database: Database, clock: Clock, *, settle: float, quota: int,
        chance: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self._database = database
        self._clock = clock
        self._settle = settle
        self._quota = quota
        self._chance = chance
        self._marks = threading.Lock()
        self._in_delivery: dict[str, int] = {}

    def provision(self, agent_id: int, asks: Iterable[Ask]) -> list[Held | None]:
        """Hold what an agent asks for, in one transaction; None for an ask that is over the agent's quota."""
        with self._database.change() as connection:
            left = _Left(self._quota - connection.execute(_HELD, (agent_id,)).fetchone()[0])
            return [self._provision(connection, agent_id, ask, left) for ask in asks]

    def _provision(self, connection: sqlite3.Connection, agent_id: int, ask: Ask, left: _Left) -> Held | None:
        old = _held(connection.execute(_ONE, (agent_id, ask.job_id)).fetchone())
        if old is None and not left.take():
            return None
        new = provision(
            old, ask, agent_id=agent_id, schedule_id=secrets.token_hex(16),
            in_delivery=old is not None and self._delivering(old.schedule_id),
        )  # fmt: skip
        if new != old:
            _put(connection, new)
        return new

    def cancel(self, agent_id: int, job_ids: Iterable[str]) -> None:
        """Hold nothing more for these jobs; unknown ones too."""
        with self._database.change() as connection:
            connection.executemany(
                "DELETE FROM arms WHERE agent_id = ? AND job_id = ?", [(agent_id, job_id) for job_id in job_ids]
            )

    def listed(self, agent_id: int, *, beyond: str = "", limit: int = -1) -> Sequence[Held]:
        """What is armed or dead, by job, beyond this job; not what is in delivery, or was delivered."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT * FROM arms WHERE agent_id = ? AND job_id > ? AND state IN ('armed', 'dead')"
                " ORDER BY job_id LIMIT ?",
                (agent_id, beyond, limit),
            ).fetchall()
        return list(map(_row, rows))

    def delivering(self, held: Held) -> bool:
        """Whether this very arm is in delivery."""
        return self._delivering(held.schedule_id)

    def take(self, now: datetime, free: int, each: int, spare: int = 0) -> Sequence[Due]:
        """What is due by `now`, the earliest first; it is in delivery from now on.

        At most `free` arms, and at most `each` of one agent in delivery; of the free places the last `spare` are for
        agents of which nothing is in delivery.
        """
        if free < 1:
            return []
        until = to_micros(now)
        with self._marks, self._database.read() as connection:
            busy = Counter(self._in_delivery.values())
            full = [agent_id for agent_id, count in busy.items() if count >= each or free <= spare]
            # An agent of which all that is due is in delivery stands in the way of no other.
            most = free + len(busy)
            rows = connection.execute(_WAITING.format(",".join("?" * len(full))), (until, *full, most)).fetchall()
            waiting = [
                Due(_row(arm), read_agent(row))
                for row in rows
                for arm in connection.execute(_DUE, (row["id"], until, each))
            ]
            waiting.sort(key=lambda due: due.held.due_at or now)
            return self._mark(waiting, busy, free, each, spare)

    def _mark(self, waiting: Iterable[Due], busy: Counter[int], free: int, each: int, spare: int) -> list[Due]:
        taken: list[Due] = []
        for due in waiting:
            held, left = due.held, free - len(taken)
            most = each if left > spare else min(left, 1)
            if held.schedule_id in self._in_delivery or busy[held.agent_id] >= most:
                continue
            self._in_delivery[held.schedule_id] = held.agent_id
            busy[held.agent_id] += 1
            taken.append(due)
        return taken

    def stands(self, held: Held) -> bool:
        """Whether this arm is still wanted: neither replaced nor cancelled nor buried since it was taken."""
        with self._database.read() as connection:
            row = connection.execute("SELECT due_at FROM arms WHERE schedule_id = ?", (held.schedule_id,)).fetchone()
        return row is not None and row["due_at"] is not None

    def finish(self, held: Held, result: Result) -> Held | None:
        """A delivery has ended: what is held now by its `schedule_id`; None when the row went or was replaced."""
        with self._database.change() as connection:
            now = self._clock()
            row = connection.execute("SELECT * FROM arms WHERE schedule_id = ?", (held.schedule_id,)).fetchone()
            old = _held(row)
            if old is None or old.state is State.DEAD:
                return old
            new = after(old, result, now, settle=self._settle, chance=self._chance())
            if new is None:
                connection.execute("DELETE FROM arms WHERE schedule_id = ?", (held.schedule_id,))
            else:
                _put(connection, new)
        return new

    def release(self, held: Held) -> None:
        """It is in delivery no more; to be called after `finish`, also where that failed."""
        with self._marks:
            self._in_delivery.pop(held.schedule_id, None)

    def next_due(self, now: datetime) -> datetime | None:
        """The earliest instant after `now` at which something is due."""
        with self._database.read() as connection:
            row = connection.execute("SELECT min(due_at) FROM arms WHERE due_at > ?", (to_micros(now),)).fetchone()
        return None if row[0] is None else from_micros(row[0])

    def hurry(self, schedule_id: str) -> Held | None:
        """An outside scheduler says that this arm's time has come: one that waits for a retry is tried at once.

        Answers what is held by this `schedule_id`. An instant still to come is not brought forward: a fire is never
        sent early.
        """
        with self._database.change() as connection:
            row = connection.execute("SELECT * FROM arms WHERE schedule_id = ?", (schedule_id,)).fetchone()
            held = _held(row)
            if held is not None and held.state is State.TRYING:
                now = to_micros(self._clock())
                connection.execute(
                    "UPDATE arms SET due_at = ? WHERE schedule_id = ? AND due_at > ?", (now, schedule_id, now)
                )
        return held

    def in_delivery(self) -> int:
        """How many arms are in delivery."""
        with self._marks:
            return len(self._in_delivery)

    def _delivering(self, schedule_id: str) -> bool:
        with self._marks:
            return schedule_id in self._in_delivery


def _put(connection: sqlite3.Connection, held: Held) -> None:
    due_at, since = (None if instant is None else to_micros(instant) for instant in (held.due_at, held.since))
    connection.execute(
        _PUT,
        (
            held.agent_id, held.job_id, held.schedule_id, to_micros(held.fire_at), held.callback_url, held.state,
            due_at, since, held.failures, held.deliveries, held.reason,
        ),
    )  # fmt: skip


def _held(row: sqlite3.Row | None) -> Held | None:
    return None if row is None else _row(row)


def _row(row: sqlite3.Row) -> Held:
    due_at, since = (None if row[name] is None else from_micros(row[name]) for name in ("due_at", "since"))
    return Held(
        row["agent_id"], row["job_id"], row["schedule_id"], from_micros(row["fire_at"]), row["callback_url"],
        State(row["state"]), due_at, since, row["failures"], row["deliveries"], row["reason"],
    )  # fmt: skip
