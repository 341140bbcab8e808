"""Agents: who may arm, for which audience, known by the hash of a token.

Commands add and revoke agents beside a running server: both look into the same file.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hermes_cron.clock import Clock, from_micros, to_micros
from hermes_cron.errors import AgentInvalid
from hermes_cron.nas.database import Database
from hermes_cron.nas.held import State
from hermes_cron.settings import Secret

MARK = "hcn_"
"""What every token begins with, so that scanners for leaked secrets can know one."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent; `audience` is the `aud` of its fire tokens. A revoked one is kept, so that it can be told so."""

    id: int
    name: str
    audience: str
    added_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """An agent, and how many arms of it stand in each state."""

    agent: Agent
    arms: dict[str, int] = field(default_factory=dict)


class Agents:
    """The agents in NAS's file."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(self, name: str, audience: str) -> tuple[Agent, Secret]:
        """A new agent, and its token: only its hash is kept, so it cannot be shown again.

        Raises:
            AgentInvalid: The name or the audience cannot stand, or another agent has this name.
        """
        if _NAME.fullmatch(name) is None:
            hint = "Use 1 to 100 letters, digits and . _ : @ -."
            raise AgentInvalid(f"{name!r} cannot be an agent's name.", hint=hint, field="name")
        if not audience or len(audience) > 255 or not audience.isprintable():
            hint = "Give what the agent has as cron.chronos.expected_audience, for example agent:reports."
            raise AgentInvalid("The audience must be 1 to 255 printable characters.", hint=hint, field="audience")
        token = MARK + secrets.token_urlsafe(32)
        now = to_micros(self._clock())
        with self._database.change() as connection:
            known = connection.execute("SELECT 1 FROM agents WHERE name = ? AND revoked_at IS NULL", (name,)).fetchone()
            if known is not None:
                hint = f"Revoke it first, or choose another name: hermes-cron nas agents revoke {name}"
                raise AgentInvalid(f"An agent {name} exists already.", hint=hint, field="name")
            cursor = connection.execute(
                "INSERT INTO agents (name, audience, token_sha256, added_at) VALUES (?, ?, ?, ?)",
                (name, audience, _hash(token), now),
            )
            number = cursor.lastrowid or 0
        return Agent(number, name, audience, from_micros(now)), Secret(token)

    def revoke(self, name: str) -> Agent:
        """End an agent: its token is refused for good, and what it armed is kept as dead.

        Raises:
            AgentInvalid: No agent that is not revoked has this name.
        """
        with self._database.change() as connection:
            row = connection.execute("SELECT * FROM agents WHERE name = ? AND revoked_at IS NULL", (name,)).fetchone()
            if row is None:
                hint = "hermes-cron nas agents list shows them all."
                raise AgentInvalid(f"There is no agent {name} to revoke.", hint=hint, field="name")
            now = to_micros(self._clock())
            connection.execute("UPDATE agents SET revoked_at = ? WHERE id = ?", (now, row["id"]))
            connection.execute(
                "UPDATE arms SET state = ?, due_at = NULL, reason = 'the agent was revoked'"
                " WHERE agent_id = ? AND state <> ?",
                (State.DEAD, row["id"], State.DEAD),
            )
        return Agent(row["id"], name, row["audience"], from_micros(row["added_at"]), from_micros(now))

    def listed(self) -> Sequence[Listed]:
        """All agents, revoked ones too, in the order they were added."""
        with self._database.read() as connection:
            agents = [read_agent(row) for row in connection.execute("SELECT * FROM agents ORDER BY id")]
            counts: dict[int, dict[str, int]] = {agent.id: {} for agent in agents}
            rows = connection.execute("SELECT agent_id, state, count(*) FROM arms GROUP BY agent_id, state")
            for agent_id, state, count in rows:
                counts.setdefault(agent_id, {})[state] = count
        return [Listed(agent, counts[agent.id]) for agent in agents]

    def by_token(self, token: str) -> Agent | None:
        """The agent with this token, revoked ones too; None if there is none."""
        known = _hash(token)
        with self._database.read() as connection:
            row = connection.execute("SELECT * FROM agents WHERE token_sha256 = ?", (known,)).fetchone()
        # The index compares hashes, from which time tells nothing of the token; equality is decided in constant time.
        return read_agent(row) if row is not None and hmac.compare_digest(row["token_sha256"], known) else None


def read_agent(row: sqlite3.Row) -> Agent:
    """The agent in a row of the table."""
    revoked = row["revoked_at"]
    added = from_micros(row["added_at"])
    return Agent(row["id"], row["name"], row["audience"], added, None if revoked is None else from_micros(revoked))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "backslashreplace")).hexdigest()
