"""A NAS on loopback, and an agent that it calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.nas_parts import AgentServer, Caller, Place, served


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A NAS that waits 60 s for an arm."""
    with served(tmp_path / "nas") as new:
        yield new


@pytest.fixture
def caller(place: Place) -> Caller:
    """An agent of it."""
    return place.agent()


@pytest.fixture
def agent() -> Iterator[AgentServer]:
    """Where the agent takes its fires."""
    server = AgentServer()
    yield server
    server.close()
