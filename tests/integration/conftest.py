"""Systems for the integration tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.servers import free_port
from tests.integration.system import System

REDIS = os.environ.get("HERMES_CRON_TEST_REDIS", "redis://127.0.0.1:6379/0")


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis: the one that is there, or one of our own on a free port."""
    host, _, port = REDIS.split("://")[1].split("/")[0].rpartition(":")
    if _answers(host, int(port)):
        yield REDIS
        return
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis: no server answers, and redis-server is not installed")
    free = free_port()
    folder = tmp_path_factory.mktemp("redis")
    server = subprocess.Popen(
        [program, "--port", str(free), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        while not _answers("127.0.0.1", free):
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{free}/0"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def make_system(tmp_path: Path) -> Iterator[Callable[..., System]]:
    """Makes systems, and ends what they started."""
    made: list[System] = []

    def make(broker_url: str, **options: object) -> System:
        system = System(tmp_path, broker_url, **options)  # type: ignore[arg-type]  # as the tests give them.
        made.append(system)
        return system

    yield make
    for system in made:
        system.close()
