"""The parts that the black-box tests of the threat table share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import make_system, redis_url
from tests.security.front import Front
from tests.unit.verify.conftest import host

__all__ = ["front", "host", "make_system", "redis_url"]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Front]:
    """The web processes as shipped, two workers, with a pinned key."""
    home: Path = tmp_path_factory.mktemp("front")
    new = Front(home, redis_url)
    try:
        new.start()
        yield new
    finally:
        new.close()
