"""`worker --pool processes` as it is run: what bodies do to their processes, and what is done to the worker's."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from hermes_cron.ledger import FireState
from hermes_cron.run import Run, RunState
from tests.integration.system import System, children

pytestmark = [
    pytest.mark.processes, pytest.mark.redis,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes: it looks into /proc"),
]  # fmt: skip
Make = Callable[..., System]
POOL = ("--pool", "processes")
BRITTLE = """
from pathlib import Path

from hermes_cron import HermesCron

if "hermes_cron.child" in Path("/proc/self/cmdline").read_text():
    raise RuntimeError("not here")
app = HermesCron("brittle")

@app.task(name="mark")
def mark(): ...
"""


@pytest.fixture
def system(make_system: Make, redis_url: str) -> System:
    """A system without NAS, whose worker is to run bodies in processes."""
    env = {"HERMES_CRON_APP": "pool_app:app", "HERMES_CRON_WORKER__POOL": "processes"}
    return make_system(redis_url, provider="builtin", env=env)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def words(pid: int) -> str:
    """What it was started with."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def below(pid: int) -> list[int]:
    """The processes that this one started, and those that they started."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        found = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return found + [pid for child in found for pid in below(child)]


def brood(system: System, job_id: str) -> list[int]:
    """The processes of a body that has begun."""
    row = system.wait(lambda: [r for r in system.history() if r[0].startswith("brood") and r[1] == job_id], "a brood")
    return [int(pid) for pid in row[-1][0].split("-")[1:]]


def run_of(system: System, job_id: str) -> Run:
    return system.store.runs(job_id)[0]


@pytest.mark.timeout(240)
def test_i17_a_job_that_kills_its_process_stops_after_its_reruns_and_no_other_notices(system: System) -> None:
    worker = system.start_worker(0, "-c", "2", *POOL)
    system.add("tide", "every 1s")
    system.wait(lambda: system.ran("tide"), "the first run")
    system.add("killed", "in 2s", "killed")
    fires = system.wait(lambda: system.store.fires("killed", states=[FireState.INTERRUPTED]), "its outcome")
    assert (fires[0].deaths, fires[0].attempts, fires[0].failures) == (2, 2, 0)
    assert fires[0].reason == "its process was killed by SIGKILL"
    assert [run.state for run in system.store.runs("killed")] == [RunState.ABANDONED] * 2
    assert len(system.ran("killed", "killed")) == 2
    before = len(system.ran("tide"))
    system.wait(lambda: len(system.ran("tide")) >= before + 2, "more of the other job")
    assert worker.poll() is None
    for run in system.store.runs("tide"):
        # A slot that waited for the dead would have waited for a lease.
        assert run.started_at is None or run.started_at - run.fire_at < timedelta(seconds=15), "it was late"
    assert {fire.state for fire in system.store.fires("tide")} <= {FireState.SUCCEEDED, FireState.RUNNING}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("stuck", [False, True])
def test_kill_9_of_the_worker_leaves_no_orphan(system: System, stuck: bool) -> None:
    worker = system.start_worker(0, "-c", "2", *POOL)
    system.add("brood", "in 1s", "brood", "--args", f'{{"stuck": {str(stuck).lower()}}}')
    pids = brood(system, "brood")
    all_of_it = below(worker.pid)
    assert set(pids) <= set(all_of_it)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    system.wait(lambda: not any(map(alive, all_of_it)), "everything to be gone")


@pytest.mark.timeout(240)
def test_kill_9_of_the_worker_ends_the_commands_of_its_children(system: System) -> None:
    system.env["HERMES_CRON_TASKS__SHELL__ENABLED"] = "true"
    worker = system.start_worker(0, "-c", "1", *POOL)
    argv = ["sh", "-c", "trap '' TERM HUP; echo; sleep 77"]
    system.add("command", "in 1s", "shell", "--args", json.dumps({"argv": argv}))
    system.wait(lambda: any("sleep\0" in words(pid) for pid in below(worker.pid)), "the command")
    everything = below(worker.pid)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    system.wait(lambda: not any(map(alive, everything)), "everything to be gone")


@pytest.mark.timeout(240)
def test_the_lease_of_a_frozen_child_is_renewed_and_its_time_ends_it(system: System) -> None:
    system.env["HERMES_CRON_WORKER__LEASE_SECONDS"] = "15"
    system.start_worker(0, "-c", "1", *POOL)
    system.add("brood", "in 1s", "brood", "--timeout", "20")
    pids = brood(system, "brood")
    os.kill(pids[0], signal.SIGSTOP)
    started = run_of(system, "brood").started_at
    assert started is not None
    system.wait(lambda: system.store.now() > started + timedelta(seconds=18), "more than a lease")
    run = run_of(system, "brood")
    assert run.state is RunState.STARTED
    assert run.lease_until is not None
    assert run.lease_until > system.store.now()
    fire = system.wait(lambda: system.store.fires("brood", states=[FireState.FAILED]), "its end")[0]
    assert (fire.reason, fire.deaths) == ("timed out after 20 s, and was killed", 0)
    system.wait(lambda: not any(map(alive, pids)), "its processes to be gone")


@pytest.mark.timeout(240)
def test_a_drain_ends_what_can_end_and_hands_back_what_cannot(system: System) -> None:
    system.env["HERMES_CRON_WORKER__DRAIN_SECONDS"] = "3"
    worker = system.start_worker(0, "-c", "3", *POOL)
    system.add("short", "in 2s", "slow", "--args", '{"seconds": 2}')
    system.add("told", "in 2s", "slow", "--args", '{"seconds": 60}')
    system.add("brood", "in 2s", "brood")
    pids = brood(system, "brood")
    system.wait(lambda: system.ran("short", "began") and system.ran("told", "began"), "all to begin")
    everything = below(worker.pid)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert system.store.fires("short")[0].state is FireState.SUCCEEDED
    for job_id in ("told", "brood"):
        fire = system.store.fires(job_id)[0]
        assert (fire.state, fire.reason, fire.deaths) == (FireState.WAITING, "handed back", 0)
    system.wait(lambda: not any(map(alive, {*everything, *pids})), "everything to be gone")


@pytest.mark.timeout(240)
def test_serve_runs_bodies_in_processes_and_its_end_by_kill_9_leaves_none(system: System) -> None:
    master = system.start_serve("-c", "2")
    system.add("tide", "every 1s")
    system.wait(lambda: system.ran("tide"), "a run")
    (unit,) = children(master.pid)
    body = int(system.ran("tide")[-1][5])
    assert body != unit
    system.add("brood", "in 1s", "brood")
    pids = brood(system, "brood")
    everything = below(unit)
    os.kill(unit, signal.SIGKILL)
    system.wait(lambda: not any(map(alive, {*everything, *pids})), "all of it to be gone")
    # gunicorn starts another one, which starts its own children.
    count = len(system.ran("tide"))
    system.wait(lambda: len(system.ran("tide")) >= count + 2, "more runs")
    assert int(system.ran("tide")[-1][5]) not in everything
    everything = below(master.pid)
    master.send_signal(signal.SIGTERM)
    assert master.wait(60) == 0
    system.wait(lambda: not any(map(alive, everything)), "everything to be gone")


@pytest.mark.timeout(240)
def test_an_app_that_only_a_child_cannot_load_is_told_once(system: System, tmp_path: Path) -> None:
    folder = tmp_path / "apps"
    folder.mkdir()
    (folder / "brittle.py").write_text(BRITTLE)
    system.env |= {"HERMES_CRON_APP": "brittle:app", "PYTHONPATH": str(folder)}
    worker = system.start_worker(0, "-c", "2", *POOL)
    system.add("a", "every 1s")
    system.wait(lambda: len(system.store.fires("a", states=[FireState.FAILED])) >= 3, "runs to fail")
    time.sleep(1)
    assert "RuntimeError: not here" in system.store.fires("a", states=[FireState.FAILED])[0].reason
    assert system.log("worker0").count("no process can be started for runs") == 1
    assert worker.poll() is None
