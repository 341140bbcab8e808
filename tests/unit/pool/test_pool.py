"""Bodies in processes of their own: what they are given, how they end, and what becomes of those that will not."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_cron.execution import MAX_RESULT_BYTES
from hermes_cron.run import Run, RunState, StopSign
from hermes_cron.task import Task
from tests.unit.parts import NOON, ends_within, until
from tests.unit.pool.conftest import Make, Warm, alive, gone, noted

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes: it looks into /proc"),
]


def pid_of(warm: Warm) -> int:
    return int(json.loads(warm.run("whoami").result)["pid"])


def keeper_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_body_gets_its_run_and_nothing_of_the_worker(warm: Warm) -> None:
    ended = warm.run("whoami", timeout=60, a=[1, {"b": None}], b="é\n\0")
    assert (ended.state, ended.error) == (RunState.SUCCEEDED, "")
    told = json.loads(ended.result)
    assert told["run"] == ["a:1", "a", "k", NOON.isoformat(), 2, 1, "whoami"]
    assert told["args"] == {"a": [1, {"b": None}], "b": "é\n\0"}
    assert told["deadline"] == ended.deadline.isoformat() if ended.deadline else None
    assert (told["cancelled"], told["main"], told["stdin"]) == (False, True, "")
    assert told["pid"] == told["group"] != os.getpid()
    # Its three, the channel, and the folder that it reads.
    assert told["fds"] == [0, 1, 2, 3, 4]


def test_one_child_runs_one_run_after_another(warm: Warm) -> None:
    assert len({pid_of(warm) for _ in range(5)}) == 1


def test_a_child_is_replaced_after_so_many_runs_and_serves_until_the_next_is_ready(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    monkeypatch.setenv("HERMES_CRON_TEST_HOLD", str(hold))
    warm = make(most_runs=3)
    first = pid_of(warm)
    hold.touch()
    assert {pid_of(warm) for _ in range(10)} == {first}, "no slot waits for a start"
    hold.unlink()
    assert until(lambda: pid_of(warm) != first)
    assert gone([first])


@pytest.mark.parametrize(
    ("task", "args", "state", "words"),
    [
        ("raise", {}, RunState.FAILED, "ValueError: no"),
        ("nobody", {}, RunState.FAILED, "there is no task 'nobody'"),
        ("answer", {"bad": 1}, RunState.FAILED, "cannot be called so"),
        ("answer", {}, RunState.SUCCEEDED, "{1, 2}"),
        ("answer", {"size": MAX_RESULT_BYTES * 40}, RunState.SUCCEEDED, "left out"),
        ("answer", {"size": MAX_RESULT_BYTES - 2}, RunState.SUCCEEDED, "xxx"),
    ],
)
def test_what_becomes_of_a_run_is_as_with_threads(
    warm: Warm, task: str, args: dict[str, object], state: RunState, words: str
) -> None:
    ended = warm.run(task, **args)
    assert ended.state is state
    assert words in ended.error + ended.result
    assert len(ended.result) <= MAX_RESULT_BYTES


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("segfault", "its process was killed by SIGSEGV"), ("exit", "its process ended with exit code 3"),
        ("kill", "its process was killed by SIGKILL"), ("abort", "its process was killed by SIGABRT"),
        ("deafen", "its process was killed by SIGKILL"),
        ("garble", "its process could not be heard any more, and was killed"),
    ],
)  # fmt: skip
def test_a_body_that_kills_its_process_is_abandoned_and_the_next_runs_in_another(
    warm: Warm, how: str, words: str
) -> None:
    first = pid_of(warm)
    ended = warm.run("die", how=how)
    assert (ended.state, ended.error) == (RunState.ABANDONED, words)
    assert gone([first])
    assert pid_of(warm) != first


def test_a_body_that_forges_its_end_gets_no_other_than_runs_have(warm: Warm) -> None:
    ended = warm.run("die", how="forge")
    assert ended.state is RunState.FAILED
    assert "cannot be read" in ended.error
    started = time.monotonic()
    assert warm.run("answer", size=1).result == '"x"', "it is not handed to a process whose body goes on"
    assert time.monotonic() - started < 50


def test_the_end_of_its_keeper_is_the_end_of_a_body(warm: Warm, tmp_path: Path) -> None:
    note, ended = tmp_path / "note", list[Run]()
    body = threading.Thread(target=lambda: ended.append(warm.run("deaf", note=str(note), children=2)))
    body.start()
    pids = noted(note)
    os.kill(keeper_of(pids[0]), signal.SIGKILL)
    body.join()
    assert ended[0].state is RunState.ABANDONED
    assert gone(pids)
    assert warm.run("answer", size=1).state is RunState.SUCCEEDED


def test_a_body_that_eats_its_memory_fails_alone_and_its_process_is_not_used_again(make: Make) -> None:
    warm = make(2)
    other: list[Run] = []
    beside = threading.Thread(target=lambda: other.append(warm.run("wait", seconds=1.0)))
    beside.start()
    ended = warm.run("eat")
    assert ended.state is RunState.FAILED
    assert ended.error.startswith("MemoryError")
    assert warm.run("answer", size=1024 * 1024 * 60).state is RunState.SUCCEEDED, "no limit is left from the other"
    beside.join()
    assert other[0].result == '"not told"'


def test_a_body_that_returns_in_all_its_forks_has_ended_once(warm: Warm) -> None:
    assert warm.run("fork").result == '"the original"'
    assert warm.run("answer", size=1).result == '"x"'


def test_a_fork_of_a_body_can_be_terminated(warm: Warm) -> None:
    assert warm.run("terminate").result == str(-signal.SIGTERM)


def test_a_child_that_dies_while_it_has_nothing_to_do_is_replaced(warm: Warm) -> None:
    first = pid_of(warm)
    os.kill(first, signal.SIGKILL)
    assert gone([first])
    ended = warm.run("whoami")
    assert ended.state is RunState.SUCCEEDED
    assert json.loads(ended.result)["pid"] != first


def once(note: Path, act: Callable[[], object]) -> None:
    """Do this once a body has noted that it has begun."""
    threading.Thread(target=lambda: until(note.exists) and act()).start()


def test_a_cancelled_body_is_told_and_ends_as_it_likes(make: Make, tmp_path: Path) -> None:
    warm, sign, note = make(grace=60), StopSign(), tmp_path / "note"
    once(note, lambda: sign.put_up("by Ann"))
    ended = warm.run("wait", sign=sign, note=str(note))
    assert (ended.state, ended.error, ended.result) == (RunState.CANCELLED, "by Ann", '"told"')
    assert not sign.inside


def test_a_body_whose_worker_drains_is_told_so(make: Make, tmp_path: Path) -> None:
    warm, sign, note = make(grace=60), StopSign(), tmp_path / "note"
    once(note, lambda: sign.put_up("its worker drains", hand_back=True))
    ended = warm.run("wait", sign=sign, note=str(note))
    assert (ended.state, ended.error, sign.hand_back) == (RunState.CANCELLED, "its worker drains", True)


def test_a_body_is_told_that_its_time_is_over(make: Make) -> None:
    warm = make(grace=60)
    started = time.monotonic()
    ended = warm.run("wait", timeout=0.3)
    assert (ended.state, ended.error) == (RunState.FAILED, "timed out after 0.3 s")
    assert time.monotonic() - started < 50


def test_the_timeout_of_the_task_counts_where_the_job_has_none(make: Make, tmp_path: Path) -> None:
    warm = make(deaf=Task("deaf", print, timeout=0.2))
    ended = warm.run("deaf", note=str(tmp_path / "note"))
    assert (ended.state, ended.error) == (RunState.FAILED, "timed out after 0.2 s, and was killed")


@pytest.mark.parametrize("why", ["timeout", "cancel", "drain"])
def test_a_body_that_ignores_everything_is_killed_with_all_it_started(warm: Warm, tmp_path: Path, why: str) -> None:
    note, sign, ended = tmp_path / "note", StopSign(), list[Run]()
    timeout = 3.0 if why == "timeout" else None
    body = threading.Thread(
        target=lambda: ended.append(warm.run("deaf", timeout, sign, note=str(note), children=3))
    )  # fmt: skip
    body.start()
    pids = noted(note)
    assert len(pids) == 4
    assert sign.inside
    if why != "timeout":
        sign.put_up("by Ann", hand_back=why == "drain")
    started = time.monotonic()
    body.join()
    assert time.monotonic() - started < 60
    expected = {
        "timeout": (RunState.FAILED, "timed out after 3 s, and was killed"),
        "cancel": (RunState.CANCELLED, "by Ann"), "drain": (RunState.CANCELLED, "by Ann"),
    }  # fmt: skip
    assert (ended[0].state, ended[0].error) == expected[why]
    assert gone(pids)
    assert not Path(f"{note}.finally").exists()


def test_a_body_that_is_not_deaf_to_sigterm_may_clean_up(warm: Warm, tmp_path: Path) -> None:
    note = tmp_path / "note"
    ended = warm.run("deaf", 2.0, note=str(note), ignore=False)
    assert (ended.state, ended.error) == (RunState.FAILED, "timed out after 2 s")
    assert Path(f"{note}.finally").exists()
    assert gone(noted(note)), "a process that had to be ended is not used again"


def test_a_frozen_child_is_killed_at_its_time(warm: Warm, tmp_path: Path) -> None:
    note, ended = tmp_path / "note", list[Run]()
    body = threading.Thread(target=lambda: ended.append(warm.run("deaf", 4.0, note=str(note))))
    body.start()
    pids = noted(note)
    os.kill(pids[0], signal.SIGSTOP)
    body.join()
    assert ended[0].error == "timed out after 4 s, and was killed"
    assert gone(pids)


def test_a_signal_that_was_meant_for_the_whole_service_ends_no_body(warm: Warm, tmp_path: Path) -> None:
    pid, note, ended = pid_of(warm), tmp_path / "note", list[Run]()
    body = threading.Thread(target=lambda: ended.append(warm.run("wait", seconds=1.0, note=str(note))))
    body.start()
    assert until(note.exists)
    for process in (keeper_of(pid), pid):
        os.kill(process, signal.SIGTERM)
    body.join()
    assert (ended[0].state, ended[0].result) == (RunState.SUCCEEDED, '"not told"')


def test_a_body_without_a_lease_is_killed_by_whoever_watches_the_leases(make: Make, tmp_path: Path) -> None:
    warm = make()
    note, sign, ended = tmp_path / "note", StopSign(), list[Run]()
    body = threading.Thread(target=lambda: ended.append(warm.run("deaf", None, sign, note=str(note))))
    body.start()
    pids = noted(note)
    warm.pool.kill_lost()
    assert alive(pids[0]), "nobody told it to stop"
    sign.put_up("taken over", hand_back=True)
    while body.is_alive():
        warm.pool.kill_lost()
        body.join(0.05)
    assert ended[0].state is RunState.CANCELLED
    assert gone(pids)


def test_a_stopped_pool_leaves_no_process_and_hands_back_what_still_ran(make: Make, tmp_path: Path) -> None:
    warm = make(2)
    idle, note, sign, ended = pid_of(warm), tmp_path / "note", StopSign(), list[Run]()
    body = threading.Thread(target=lambda: ended.append(warm.run("deaf", None, sign, note=str(note), children=1)))
    body.start()
    pids = noted(note)
    sign.put_up("its worker drains", hand_back=True)
    warm.pool.stop()
    body.join(60)
    assert ended[0].state is RunState.CANCELLED
    assert gone([idle, *pids])
    late = StopSign()
    assert warm.run("answer", sign=late).state is RunState.CANCELLED
    assert late.hand_back


@pytest.mark.parametrize(
    ("how", "words"), [("import", "the database is away"), ("exit", "ended with exit code 9 before it was ready")]
)
def test_an_app_that_cannot_be_loaded_is_one_error_failed_runs_and_no_loop(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, how: str, words: str
) -> None:
    monkeypatch.setenv("HERMES_CRON_TEST_BREAK", how)
    monkeypatch.setenv("HERMES_CRON_TEST_STARTS", str(tmp_path / "starts"))
    started = time.monotonic()
    warm = make(2)
    with caplog.at_level(logging.INFO):
        ended = [warm.run("answer") for _ in range(3)]
        # Between two starts a run fails at once, and waits for neither.
        assert ends_within(0.1, lambda: ended.append(warm.run("answer")), tries=10)
    assert {run.state for run in ended} == {RunState.FAILED}
    assert all(words in run.error for run in ended)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert words in errors[0].getMessage()
    starts = len((tmp_path / "starts").read_text().splitlines())
    assert starts <= 2 + math.log2(1 + time.monotonic() - started), "it waits for twice as long each time"
    monkeypatch.delenv("HERMES_CRON_TEST_BREAK")
    assert until(lambda: warm.run("answer").state is RunState.SUCCEEDED), "and it recovers by itself"


def test_many_slots_run_beside_each_other(make: Make) -> None:
    warm = make(3)
    ended: list[Run] = []
    pid_of(warm)
    bodies = [threading.Thread(target=lambda: ended.append(warm.run("wait", seconds=0.5))) for _ in range(3)]
    for body in bodies:
        body.start()
    for body in bodies:
        body.join()
    assert [run.result for run in ended] == ['"not told"'] * 3


def test_a_run_that_its_child_had_not_begun_when_it_died_has_not_died(warm: Warm) -> None:
    first, ended = pid_of(warm), list[Run]()
    os.kill(first, signal.SIGSTOP)
    # It is handed the run, and cannot read of it.
    body = threading.Thread(target=lambda: ended.append(warm.run("whoami")))
    body.start()
    time.sleep(0.2)
    os.kill(first, signal.SIGKILL)
    body.join()
    assert ended[0].state is RunState.SUCCEEDED
    assert json.loads(ended[0].result)["pid"] != first


def test_a_worker_with_many_connections_has_children_too(make: Make) -> None:
    # Above 1024 a descriptor is beyond what select() can watch.
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        warm = make()
        assert warm.run("whoami").state is RunState.SUCCEEDED
    finally:
        for descriptor in held:
            os.close(descriptor)
