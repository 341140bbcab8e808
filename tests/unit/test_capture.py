"""Whose words they are: each run has its own, all go where they went before, and outside of runs nobody listens."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import sys
import threading
from collections.abc import Callable
from functools import wraps

import pytest

from hermes_cron.capture import Capture, command_said, recorded, recording
from hermes_cron.execution import execute
from hermes_cron.output import Line, Output, Recorder
from hermes_cron.run import Run, RunState, StopSign
from hermes_cron.task import Task
from tests.unit.parts import NOON, FakeClock

LOG = logging.getLogger("a.body")


@pytest.fixture
def out() -> io.TextIOWrapper:
    """What stdout is in a test that is `listening`."""
    return io.TextIOWrapper(io.BytesIO(), write_through=True)


def listening(test: Callable[..., None]) -> Callable[..., None]:
    """The test with `out` for stdout, while somebody listens; pytest puts its own there in between its phases."""

    @wraps(test)
    def with_capture(out: io.TextIOWrapper, **fixtures: object) -> None:
        before, capture = sys.stdout, Capture()
        sys.stdout = out
        capture.start()
        try:
            test(out=out, **fixtures)
        finally:
            capture.stop()
            assert sys.stdout is out
            sys.stdout = before

    return with_capture


def written(stream: io.TextIOWrapper) -> str:
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]  # it has it here.


def said_by(body: Callable[[], object], hide: tuple[str, ...] = ()) -> Run:
    run = Run("a:1", "a", "k", NOON, 1, 1, "t", {}, RunState.STARTED)
    tasks = {"t": Task("t", body)}
    return recorded(lambda run, sign: execute(run, tasks, sign, FakeClock()), FakeClock(), hide)(run, StopSign())


def lines(run: Run) -> list[tuple[str, str, str]]:
    assert run.output is not None
    return [(line.source, line.level, line.text) for line in run.output.lines]


@listening
def test_what_a_body_prints_and_logs_is_its_runs_and_goes_on_to_where_it_went(
    out: io.TextIOWrapper, caplog: pytest.LogCaptureFixture
) -> None:
    def body() -> int:
        print("one", 2)
        print("three", file=sys.stderr)
        LOG.warning("%s of %s", 4, 5)
        sys.stdout.writelines(["six\n", "seven\n"])
        sys.stdout.buffer.write(b"eight\n")
        return 9

    run = said_by(body)
    assert (run.state, run.result) == (RunState.SUCCEEDED, "9")
    assert lines(run) == [
        ("stdout", "", "one 2"), ("stderr", "", "three"), ("a.body", "warning", "4 of 5"), ("stdout", "", "six"),
        ("stdout", "", "seven"), ("stdout", "", "eight"),
    ]  # fmt: skip
    assert written(out) == "one 2\nsix\nseven\neight\n"
    assert caplog.messages == ["4 of 5"]


@listening
def test_the_traceback_of_a_body_that_failed_is_among_its_words(out: io.TextIOWrapper) -> None:
    def body() -> None:
        print("before")
        raise ValueError("no such tide")

    run = said_by(body)
    assert run.state is RunState.FAILED
    printed, (source, level, text) = lines(run)
    assert printed == ("stdout", "", "before")
    assert (source, level) == ("hermes_cron.execution", "warning")
    assert text.splitlines()[1] == "Traceback (most recent call last):"
    assert text.endswith("ValueError: no such tide")


@listening
def test_runs_at_the_same_time_have_each_their_own(out: io.TextIOWrapper) -> None:
    both, found = threading.Barrier(2), {}

    def speak(name: str) -> None:
        def body() -> None:
            for number in range(50):
                both.wait(10)
                print(name, number)
                LOG.error("%s %s", name, number)

        found[name] = said_by(body)

    threads = [threading.Thread(target=speak, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in "ab":
        assert [text for _, _, text in lines(found[name])] == [f"{name} {n}" for n in range(50) for _ in range(2)]


@listening
def test_it_follows_a_body_into_asyncio_and_not_into_threads_of_its_own(out: io.TextIOWrapper) -> None:
    async def words() -> None:
        print("a coroutine")
        await asyncio.gather(asyncio.to_thread(print, "a thread of asyncio"))

    def body() -> None:
        asyncio.run(words())
        thread = threading.Thread(target=print, args=("a thread of its own",))
        thread.start()
        thread.join()

    assert [text for _, _, text in lines(said_by(body))] == ["a coroutine", "a thread of asyncio"]
    assert written(out).endswith("a thread of its own\n")


@listening
def test_outside_of_runs_nothing_is_taken_down(out: io.TextIOWrapper, caplog: pytest.LogCaptureFixture) -> None:
    run = said_by(lambda: None)
    print("between")
    LOG.error("between")
    assert run.output == Output()
    assert (written(out), caplog.messages) == ("between\n", ["between"])


@listening
def test_a_stream_is_what_it_was_in_all_else(out: io.TextIOWrapper) -> None:
    assert (sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.writable()) == (out.encoding, False, True)
    with pytest.raises(OSError, match="fileno"):
        sys.stdout.fileno()


@listening
def test_what_a_stream_refuses_is_refused_to_the_body_as_before(out: io.TextIOWrapper) -> None:
    out.reconfigure(encoding="ascii")
    run = said_by(lambda: print("é"))
    assert run.error.startswith("UnicodeEncodeError")


@listening
def test_a_body_that_puts_a_stream_of_its_own_in_its_place_speaks_to_that_alone(out: io.TextIOWrapper) -> None:
    def body() -> str:
        with contextlib.redirect_stdout(io.StringIO()) as mine:
            print("to myself")
        print("to all")
        return mine.getvalue()

    run = said_by(body)
    assert (run.result, lines(run)) == ('"to myself\\n"', [("stdout", "", "to all")])


@listening
def test_a_log_call_that_cannot_be_filled_in_is_told_of_and_harms_no_body(out: io.TextIOWrapper) -> None:
    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no")

    logging.raiseExceptions, before = False, logging.raiseExceptions
    try:
        run = said_by(lambda: LOG.error("%s", Rude()))
    finally:
        logging.raiseExceptions = before
    assert run.state is RunState.SUCCEEDED
    assert lines(run) == [("a.body", "error", "%s (which cannot be filled in: RuntimeError)")]


@listening
def test_what_a_command_says_is_its_runs_and_nobody_elses(out: io.TextIOWrapper) -> None:
    command_said("stdout", b"to nobody\n")
    assert lines(said_by(lambda: command_said("stderr", b"oh\n"))) == [("stderr", "", "oh")]
    assert written(out) == ""


@listening
def test_our_own_secrets_are_hidden(out: io.TextIOWrapper) -> None:
    run = said_by(lambda: print("the password is hunter2"), ("hunter2",))
    assert lines(run) == [("stdout", "", "the password is ***")]


@listening
def test_what_a_thread_says_after_the_end_of_its_run_is_not_taken_for_another(out: io.TextIOWrapper) -> None:
    recorder = Recorder(FakeClock())
    with recording(recorder):
        print("in time")
        ended = recorder.end()
        print("too late")
    assert ended.lines == (Line(NOON, "stdout", "in time"),)
    assert recorder.end() == ended
