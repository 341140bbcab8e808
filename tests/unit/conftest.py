"""The fixtures of the core rooms: a clock that stands still, and a real store that goes by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_cron.interfaces import Store
from hermes_cron.store import open_store
from tests.unit.counter import Counter
from tests.unit.parts import FakeClock
from tests.unit.shop import Shop


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    """An empty store on a file, whose time is `clock`."""
    new = open_store(f"sqlite:///{tmp_path}/hermes-cron.db", clock=clock)
    yield new
    new.close()


@pytest.fixture
def shop(store: Store, clock: FakeClock) -> Iterator[Shop]:
    """Makes workers, and stops them."""
    new = Shop(store, clock)
    yield new
    for worker in new.open:
        worker.stop()


@pytest.fixture
def counter(store: Store, clock: FakeClock) -> Counter:
    """A client, and what it asked for."""
    return Counter(store, clock)
