"""Many good fires, and what a task of ours could reach in the web process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.system import System

pytestmark = [pytest.mark.processes, pytest.mark.redis, pytest.mark.timeout(240)]
Make = Callable[..., System]
FIRES, THREADS = 1000, 8


def test_i5_1000_signed_fires_of_one_instant_are_one_run(make_system: Make, redis_url: str) -> None:
    system = make_system(redis_url)
    system.start_nas()
    system.start_web()
    system.start_worker()
    system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")
    system.add("once", "in 3s")
    due = system.store.read("once").job.next_fire_at  # type: ignore[union-attr]  # it was added just now.
    answers: Counter[int] = Counter()

    def storm() -> None:
        answers.update(system.fire("once", due).status for _ in range(FIRES // THREADS))

    threads = [threading.Thread(target=storm) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {202: FIRES}
    system.wait(lambda: system.ran("once"), "the run")
    system.wait(lambda: system.load()["queued"] == 0, "the worker to have looked at them all")
    assert len(system.ran("once")) == 1
    assert len(system.store.runs("once")) == 1


def test_no_control_socket_appears_in_the_users_home(make_system: Make, redis_url: str, tmp_path: Path) -> None:
    home, runtime = tmp_path / "user", tmp_path / "run"
    home.mkdir()
    runtime.mkdir()
    system = make_system(redis_url, env={"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)})
    system.start_nas()
    system.start_web()
    system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")
    assert [*home.rglob("*"), *runtime.rglob("*")] == []
