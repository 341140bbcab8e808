"""A clock that stands still, and a book of arms that lives by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hermes_cron.nas.agents import Agents
from hermes_cron.nas.book import Book
from hermes_cron.nas.database import Database
from hermes_cron.nas.held import Ask

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
URL = "https://agent.example.org"


class Clock:
    """Stands still until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> datetime:
        """Later, by so many seconds."""
        self.now += timedelta(seconds=seconds)
        return self.now


class World:
    """A book in a folder, with as many agents as asked for; their ids count from one."""

    def __init__(self, home: Path, *, agents: int = 2, settle: float = 60, quota: int = 1000) -> None:
        self.clock = Clock()
        self.database = Database(home)
        self.agents = Agents(self.database, self.clock)
        self.book = Book(self.database, self.clock, settle=settle, quota=quota, chance=lambda: 0.0)
        for n in range(agents):
            self.agents.add(f"agent{n + 1}", f"audience{n + 1}")

    def ask(self, job_id: str, seconds: float = 0, url: str = URL) -> Ask:
        """What asks for a fire so many seconds from noon."""
        return Ask(job_id, NOON + timedelta(seconds=seconds), url)

    def arm(self, agent_id: int, job_id: str, seconds: float = 0) -> str:
        """Provision; the schedule_id."""
        held = self.book.provision(agent_id, [self.ask(job_id, seconds)])[0]
        assert held is not None
        return held.schedule_id

    def taken(self, free: int = 64, each: int = 16) -> list[str]:
        """The jobs that are taken now."""
        return [due.held.job_id for due in self.book.take(self.clock.now, free, each)]


@contextmanager
def world(home: Path, *, agents: int = 2, settle: float = 60, quota: int = 1000) -> Iterator[World]:
    """A book, closed at the end."""
    new = World(home, agents=agents, settle=settle, quota=quota)
    yield new
    new.database.close()
