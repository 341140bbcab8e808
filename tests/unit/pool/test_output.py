"""What a child prints and logs is lines of our log: so much of each run, and never a message."""

from __future__ import annotations

import io
import logging
import time
from typing import Any

import pytest

from hermes_cron.logs import Human
from hermes_cron.output import Output
from hermes_cron.pool.output import MAX_BYTES, ChildOutput
from hermes_cron.run import Run, RunState
from tests.unit.pool.conftest import Warm


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def test_it_is_logged_line_by_line_under_the_name_of_its_run(log: pytest.LogCaptureFixture) -> None:
    output = ChildOutput()
    output.begin("run a:1")
    for chunk in (b"one\ntw", b"o\n\n  \nth", b"ree"):
        output.stdout(chunk)
    assert log.messages == ["run a:1: one", "run a:1: two"]
    output.end()
    output.stdout(b"late\n")
    assert log.messages[2:] == ["run a:1: three", "a child: late"]


def test_of_a_flood_so_much_is_kept_and_the_rest_is_counted(log: pytest.LogCaptureFixture) -> None:
    output = ChildOutput()
    output.begin("run a:1")
    for _ in range(160):
        output.stdout(b"x" * 65_536)
    output.stdout(b"y\n" * 100_000)
    output.end()
    kept = sum(map(len, log.messages[:-1]))
    assert kept < 2 * MAX_BYTES
    assert len(log.messages) < 2000
    left_out = int(log.messages[-1].split()[2])
    assert left_out > 160 * 65_536
    output.begin("run a:2")
    output.stdout(b"again\n")
    assert log.messages[-1] == "run a:2: again"


@pytest.mark.parametrize("bad", [b"\xff\xfe\n", b"\x1b[31m\n", b"a\rb\n", "\u202e\u2028é\n".encode()])
def test_what_is_no_text_and_what_moves_the_cursor_is_written_out(bad: bytes, log: pytest.LogCaptureFixture) -> None:
    output = ChildOutput()
    output.stdout(bad)
    line = Human().format(log.records[-1])
    assert all(char.isprintable() for char in line)


@pytest.mark.processes
def test_a_body_prints_to_the_log_and_cannot_forge_a_message(warm: Warm, log: pytest.LogCaptureFixture) -> None:
    ended = warm.run("print", text="hello \x1b[2J\u202eolleh\n")
    assert ended.state is RunState.SUCCEEDED
    lines = [Human().format(record).partition(" INFO    ")[2] for record in log.records]
    assert "output: run a:1: hello \\x1b[2J\\u202eolleh" in lines
    assert "output: run a:1: to stderr" in lines
    assert 'output: run a:1: {"ended": {"state": "failed"}}' in lines
    assert [(r.name, r.getMessage()) for r in log.records if r.levelno == logging.WARNING] == [
        ("bodies", "logged by a body")
    ]


@pytest.mark.processes
def test_ten_megabytes_stop_nobody(warm: Warm, log: pytest.LogCaptureFixture) -> None:
    started = time.monotonic()
    ended = warm.run("print", text="x" * 1023 + "\n", times=10_240)
    assert ended.state is RunState.SUCCEEDED
    assert time.monotonic() - started < 100
    assert sum(len(record.getMessage()) for record in log.records) < 2 * MAX_BYTES
    assert any("more of its output are left out" in message for message in log.messages)


def test_what_is_logged_by_a_child_keeps_its_level_and_name(log: pytest.LogCaptureFixture) -> None:
    output = ChildOutput()
    output.log(logging.ERROR, "mine", "50 % of %s")
    output.log(logging.DEBUG, "mine", "not wanted")
    with pytest.raises(TypeError):
        output.log("error", "mine", "no level")
    assert log.record_tuples == [("mine", logging.ERROR, "50 % of %s")]
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Human())
    handler.emit(log.records[0])
    assert stream.getvalue().endswith("mine: 50 % of %s\n")
    output.log(logging.ERROR, "a\nname", "text")
    assert "\n" not in log.records[-1].name


def said(run: Run) -> list[tuple[str, str, str]]:
    assert run.output is not None
    return [(line.source, line.level, line.text) for line in run.output.lines]


def test_what_is_printed_logged_and_said_by_commands_is_its_runs(log: pytest.LogCaptureFixture) -> None:
    output = ChildOutput(("hunter2",))
    output.stdout(b"to nobody\n")
    output.said("stdout", "to nobody\n")
    output.begin("run a:1")
    output.stdout(b"one\ntw")
    output.stderr(b"oh hunter2\n")
    output.log(logging.WARNING, "mine\x1b", "late\nby far")
    output.said("stdout", "\xc3\xa9\n")
    found = output.end()
    assert [(line.source, line.level, line.text) for line in found.lines] == [
        ("stdout", "", "one"), ("stderr", "", "oh ***"), ("mine\\x1b", "warning", "late\nby far"),
        ("stdout", "", "twé"),
    ]  # fmt: skip
    assert "é" not in log.text, "what a command said is not for the log"
    output.begin("run a:2")
    assert output.end() == Output()


@pytest.mark.parametrize("bad", [("stdin", "x"), ("stdout", 1), (None, None), ("stdout", "€")])
def test_what_no_command_can_have_said_is_refused(bad: tuple[Any, Any]) -> None:
    output = ChildOutput()
    output.begin("run a:1")
    with pytest.raises((TypeError, ValueError)):
        output.said(*bad)


@pytest.mark.processes
def test_a_run_comes_back_with_what_it_said(warm: Warm) -> None:
    ended = warm.run("print", text="hello\nthere\n")
    printed = [text for source, _, text in said(ended) if source == "stdout"]
    assert printed == ["hello", "there", '{"ended": {"state": "failed"}}']
    assert ("stderr", "", "to stderr") in said(ended)
    assert ("bodies", "warning", "logged by a body") in said(ended)
    assert said(warm.run("answer")) == [], "and the next one with nothing of it"


@pytest.mark.processes
@pytest.mark.parametrize("how", ["kill", "exit", "segfault"])
def test_a_run_that_is_killed_keeps_what_it_had_said(warm: Warm, how: str) -> None:
    ended = warm.run("last_words", how=how)
    assert ended.state is RunState.ABANDONED
    assert ("stdout", "", "printed before") in said(ended)
    assert ("bodies", "warning", "logged before") in said(ended)
    assert ("stdout", "", "said by a command") in said(ended)


@pytest.mark.processes
def test_a_run_that_is_killed_at_its_time_keeps_what_it_had_said(warm: Warm) -> None:
    ended = warm.run("last_words", timeout=1.0, how="deaf")
    assert (ended.state, ended.error) == (RunState.FAILED, "timed out after 1 s, and was killed")
    assert ("stdout", "", "printed before") in said(ended)


@pytest.mark.processes
def test_of_ten_megabytes_a_run_has_the_beginning_and_the_end(warm: Warm) -> None:
    ended = warm.run("print", text="x" * 1023 + "\n", times=10_240)
    assert ended.output is not None
    assert ended.output.left_out > 10_000_000
    assert len(ended.output.to_text()) < 2 * MAX_BYTES
    assert '{"ended": {"state": "failed"}}' in [text for _, _, text in said(ended)]
