"""The parts that the black-box tests of the threat table share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_cron.server import listen
from tests.chaos.servers import free_port
from tests.integration.conftest import make_system, redis_url
from tests.integration.test_load_balancer import nginx
from tests.security.front import Front
from tests.unit.verify.conftest import host

__all__ = ["front", "host", "make_system", "proxied", "redis_url"]


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


@pytest.fixture(scope="module")
def proxied(front: Front, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The shipped nginx before the same web, and before a second one."""
    folder: Path = tmp_path_factory.mktemp("nginx")
    port, second = free_port(), listen("127.0.0.1:0")
    front.system.start_web(1, second)
    with nginx(folder, port, [front.address[1], second.getsockname()[1]]):
        url = f"http://127.0.0.1:{port}"
        front.system.wait(lambda: front.system.answers(f"{url}/readyz"), "the web is ready behind nginx")
        yield "127.0.0.1", port
    second.close()
