"""What a run said, asked for by processes that never saw it: the command line, the API, and the page of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from hermes_cron.ledger import FireState
from hermes_cron.run import Run, RunState
from tests.integration.system import System

pytestmark = [pytest.mark.processes, pytest.mark.redis]
Make = Callable[..., System]
POOLS = ("threads", "processes")
SECRET = "correct-horse-battery"


@pytest.fixture(params=POOLS)
def system(request: pytest.FixtureRequest, make_system: Make, redis_url: str) -> System:
    """A system without NAS, whose worker runs bodies in threads, or in processes."""
    env = {
        "HERMES_CRON_APP": "pool_app:app", "HERMES_CRON_WORKER__POOL": request.param,
        "HERMES_CRON_TASKS__SHELL__ENABLED": "true", "HERMES_CRON_CRON__CHRONOS__ACCESS_TOKEN": SECRET,
    }  # fmt: skip
    return make_system(redis_url, provider="builtin", env=env)


def outcome(system: System, job_id: str) -> Run:
    """The last run of a job whose fire has its outcome."""
    system.wait(lambda: [fire for fire in system.store.fires(job_id) if not fire.open], f"the outcome of {job_id}")
    return system.store.runs(job_id)[0]


def logs(system: System, name: str) -> list[dict[str, Any]]:
    """What `runs logs` tells of it, once it is kept: that is after the outcome."""

    def kept() -> list[dict[str, Any]]:
        done = system.cli("runs", "logs", name, "--json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["lines"]
        return found

    return list(system.wait(kept, f"the words of {name}"))


def told(lines: list[dict[str, Any]]) -> set[tuple[str, str | None, str]]:
    return {(line["source"], line["level"], line["text"]) for line in lines}


@pytest.mark.timeout(180)
def test_what_a_body_printed_and_logged_is_read_when_its_worker_is_gone(system: System) -> None:
    worker = system.start_worker(0, "-c", "2")
    system.add("speak", "in 1s", "speak")
    system.add("command", "in 1s", "shell", "--args", json.dumps({"argv": ["sh", "-c", "echo out; echo err >&2"]}))
    system.add("broken", "in 1s", "fail")
    run, command, broken = (outcome(system, job_id) for job_id in ("speak", "command", "broken"))
    found = {name: logs(system, name) for name in (run.id, command.id, broken.id)}
    worker.terminate()
    assert worker.wait(60) == 0
    assert logs(system, "speak") == found[run.id]
    said = told(found[run.id])
    assert {("stdout", None, "to stdout"), ("stderr", None, "to stderr"), ("speaker", "warning", "logged")} <= said
    assert ("stdout", None, "the token is ***") in said
    assert SECRET not in json.dumps(found)
    assert {("stdout", None, "out"), ("stderr", None, "err")} == told(found[command.id])
    traceback = found[broken.id][-1]
    assert (traceback["source"], traceback["level"]) == ("hermes_cron.execution", "warning")
    assert traceback["text"].endswith("RuntimeError: as it should")
    shown = system.cli("runs", "logs", "speak")
    assert "\\x1b[2J" in shown.stdout, "it moves no cursor"
    assert "\x1b" not in shown.stdout
    log = system.log("worker0")
    assert all(words in log for words in ("to stdout", "to stderr", "logged")), "and it went where it always went"


@pytest.mark.timeout(180)
def test_the_api_and_the_page_of_a_run_show_it(system: System) -> None:
    system.start_web()
    system.start_worker(0, "-c", "1")
    system.add("speak", "in 1s", "speak")
    run = outcome(system, "speak")
    kept = logs(system, run.id)
    with_api = system.outbound.request("GET", f"{system.callback_url}/api/cron/runs/{run.id}/logs", deadline=20)
    assert json.loads(with_api.body)["lines"] == kept
    page = system.outbound.request("GET", f"{system.callback_url}/runs/{run.id}", deadline=20)
    assert b"to stdout" in page.body
    assert b"&lt;b&gt;bold" in page.body


@pytest.mark.timeout(180)
def test_a_live_run_has_not_ended_and_a_killed_child_keeps_what_it_said(system: System) -> None:
    system.start_worker(0, "-c", "2")
    system.add("slow", "in 1s", "slow", "--args", '{"seconds": 60}')
    system.wait(lambda: system.ran("slow", "began"), "the body to begin")
    live = system.cli("runs", "logs", "slow")
    assert (live.returncode, live.stdout) == (75, "")
    assert "has not ended" in live.stderr
    run = system.store.runs("slow")[0]
    assert system.cli("runs", "cancel", run.id).returncode == 0
    if system.env["HERMES_CRON_WORKER__POOL"] == "threads":
        return
    system.add("killed", "in 1s", "speak", "--args", '{"killed": true}')
    killed = outcome(system, "killed")
    assert system.store.fires("killed")[0].state is FireState.INTERRUPTED
    assert killed.state is RunState.ABANDONED
    for each in system.store.runs("killed"):
        assert ("stdout", None, "to stdout") in told(logs(system, each.id))
