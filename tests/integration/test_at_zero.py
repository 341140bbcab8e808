"""Everything at zero: the command line alone, a process that sleeps, a launcher that wakes it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from hermes_cron.ledger import FireState
from tests.integration.system import System

pytestmark = [pytest.mark.processes]
Make = Callable[..., System]
LATE_OR_NOT = ("--misfire", "run_all(10)", "--overlap", "queue")
"""So that a busy machine leaves no fire out."""


@pytest.mark.timeout(240)
def test_i11_the_command_line_arms_and_cancels_before_it_returns(make_system: Make) -> None:
    system = make_system("memory://")
    nas = system.start_nas()
    system.add("tide", "every 1h")
    armed = system.armed()["tide"]
    assert system.store.read("tide").arm.armed_at == armed
    assert system.cli("jobs", "pause", "tide").returncode == 0
    assert system.armed() == {}
    assert system.cli("jobs", "resume", "tide").returncode == 0
    assert set(system.armed()) == {"tide"}
    assert system.cli("jobs", "run", "tide").returncode == 0
    assert system.armed()["tide"] < armed, "a manual run has a wake of its own"
    assert system.cli("jobs", "remove", "tide", "--yes").returncode == 0
    assert system.armed() == {}
    nas.terminate()
    nas.wait()
    done = system.cli("jobs", "add", "other", "--schedule", "every 1h", "--task", "mark")
    assert done.returncode == 75
    assert "NAS" in done.stdout + done.stderr
    assert system.store.read("other").arm.wanted


@pytest.mark.timeout(240)
def test_i9_i16_a_process_that_sleeps_is_woken_by_nas_and_loses_nothing(make_system: Make) -> None:
    system = make_system("memory://")
    system.start_nas()
    system.add("tide", "every 5s", "mark", *LATE_OR_NOT)
    starts = 0
    serve: subprocess.Popen[bytes] | None = None

    def launch() -> bool:
        nonlocal serve, starts
        if serve is None or serve.poll() is not None:
            assert serve is None or serve.returncode == 0, system.logs()
            if system.knocked():
                starts += 1
                serve = system.start_serve("--exit-when-idle", "1")
        return len(system.ran("tide")) >= 3 and starts >= 2

    system.wait(launch, "three runs, with a sleep in between", 90)
    outcomes = {fire.state for fire in system.store.fires("tide") if not fire.open}
    assert outcomes == {FireState.SUCCEEDED}


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("flags", "kept"), [((), True), (("--exit-when-idle", "600"), False)])
def test_a_process_that_is_to_sleep_keeps_no_connection_that_it_would_have_to_wait_for(
    make_system: Make, flags: tuple[str, ...], kept: bool
) -> None:
    system = make_system("memory://")
    system.start_nas()
    system.start_serve(*flags)
    with socket.create_connection(system.web_socket.getsockname(), timeout=60) as asked:
        asked.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = asked.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert (b"\r\nConnection: keep-alive\r\n" in answer) is kept


@pytest.mark.timeout(240)
def test_a_manual_run_starts_while_serve_holds_a_memory_queue(make_system: Make) -> None:
    system = make_system("memory://")
    system.start_nas()
    system.start_serve()
    system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "serve answers")
    system.add("tide", "every 1h")
    hour = system.armed()["tide"]
    assert system.cli("jobs", "run", "tide").returncode == 0
    system.wait(lambda: system.ran("tide"), "the manual run")
    system.wait(lambda: system.armed() == {"tide": hour}, "the hour's arm again")
    assert system.cli("jobs", "pause", "tide").returncode == 0
    assert system.armed() == {}
    assert system.cli("jobs", "resume", "tide").returncode == 0
    assert set(system.armed()) == {"tide"}


@pytest.mark.timeout(240)
def test_i7_the_built_in_ticker_fires_exactly_without_any_nas(make_system: Make) -> None:
    system = make_system("memory://", provider="")
    system.start_serve()
    system.wait(lambda: system.answers(f"{system.callback_url}/healthz"), "serve answers")
    system.add("tide", "every 2s", "mark", *LATE_OR_NOT)
    system.wait(lambda: len(system.ran("tide")) >= 3, "three runs")
    assert system.load()["load"] > 0, "it must not be taken for idle: it holds the alarms itself"
    assert {fire.state for fire in system.store.fires("tide") if not fire.open} == {FireState.SUCCEEDED}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("command", [("web",), ("worker",)])
def test_memory_is_refused_across_processes_with_the_two_ways_out(make_system: Make, command: tuple[str, ...]) -> None:
    done = make_system("memory://").cli(*command)
    assert done.returncode == 78
    assert "serve" in done.stderr
    assert "redis://" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(240)
def test_memory_is_refused_by_plain_gunicorn_too(make_system: Make) -> None:
    system = make_system("memory://")
    system.start_nas()
    gunicorn = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket"]
    done = subprocess.run(
        [*gunicorn, "hermes_cron.wsgi:application"],
        env=system.environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "redis://" in done.stderr
