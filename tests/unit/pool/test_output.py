"""What a child prints and logs is lines of our log: so much of each run, and never a message."""

from __future__ import annotations

import io
import logging
import time

import pytest

from hermes_cron.logs import Human
from hermes_cron.pool.output import MAX_BYTES, ChildOutput
from hermes_cron.run import RunState
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
