"""Running one task in its time: whatever a body does, it ends its own run and nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from hermes_cron.clock import monotonic
from hermes_cron.errors import HermesCronError, TaskFailed
from hermes_cron.execution import MAX_ERROR_CHARS, MAX_RESULT_BYTES, execute
from hermes_cron.run import Run, RunState, StopSign
from hermes_cron.task import Task
from tests.unit.parts import LEASE, NOON, FakeClock


def run_of(task: str = "t", timeout: float | None = None, **args: Any) -> Run:
    return Run(
        "a:1", "a", "k", NOON, attempt=2, fence=7, task=task, args=args, state=RunState.STARTED, timeout=timeout,
        lease_until=NOON + LEASE,
    )  # fmt: skip


def ended(
    call: Callable[..., object], run: Run | None = None, *, sign: StopSign | None = None, **options: Any
) -> Run:  # fmt: skip
    return execute(run or run_of(), {"t": Task("t", call, **options)}, sign or StopSign(), FakeClock())


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, ""), (0, "0"), ("é\n", '"é\\n"'), ({"a": [1, None, True]}, '{"a": [1, null, true]}'),
        (NOON, json.dumps(repr(NOON))), ("\ud800", '"?"'), ("\0", '"\\u0000"'),
    ],
)  # fmt: skip
def test_keeps_the_result_as_json(result: object, text: str) -> None:
    run = ended(lambda: result)
    assert (run.state, run.result, run.error) == (RunState.SUCCEEDED, text, "")


def test_leaves_out_a_result_that_is_too_large() -> None:
    run = ended(lambda: "x" * MAX_RESULT_BYTES)
    assert run.state is RunState.SUCCEEDED
    assert str(MAX_RESULT_BYTES) in json.loads(run.result)
    assert ended(lambda: "x" * (MAX_RESULT_BYTES - 2)).result == json.dumps("x" * (MAX_RESULT_BYTES - 2))


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def circle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize("result", [float("nan"), {"a": float("inf")}, {(1, 2): 3}, circle(), Rude(), [Rude()]])
def test_succeeds_with_a_result_that_is_not_json(result: object) -> None:
    run = ended(lambda: result)
    assert run.state is RunState.SUCCEEDED
    assert json.loads(run.result, parse_constant=pytest.fail).startswith("the result is not JSON")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("bad"), "ValueError: bad"), (SystemExit(3), "SystemExit: 3"), (KeyboardInterrupt(), "Keyboard"),
        (GeneratorExit(), "GeneratorExit"), (BaseException("base"), "BaseException: base"), (Mute(), "Mute: its words"),
        (TaskFailed("it said no", hint="Ask again."), "it said no Ask again."), (HermesCronError(3), "its words"),  # type: ignore[arg-type]
        (ExceptionGroup("two", [ValueError(1), KeyError(2)]), "ExceptionGroup: two"),
    ],
)  # fmt: skip
def test_i17_fails_whatever_is_raised(error: BaseException, words: str) -> None:
    def body() -> None:
        raise error

    run = ended(body)
    assert run.state is RunState.FAILED
    assert run.error.startswith(words)


@pytest.mark.parametrize("nasty", ["a\nb\r\nc\td", "a\x85b\u2028c\vd\fe", " a \x1c b "])
def test_says_the_error_on_one_line(nasty: str) -> None:
    def body() -> None:
        raise ValueError(nasty)

    assert len(ended(body).error.splitlines()) == 1


def test_caps_the_error() -> None:
    def body() -> None:
        raise ValueError("x" * 100_000 + "\ud800")

    assert len(ended(body).error) == MAX_ERROR_CHARS


def test_hands_the_run_to_a_bound_task_only() -> None:
    seen: list[Any] = []
    ended(lambda run, place: seen.append((run.job_id, run.attempt, run.fence, run.fire_at, place)),
          run_of(place="north"), bind=True)  # fmt: skip
    ended(lambda *, place: seen.append(place), run_of(place="south"))
    assert seen == [("a", 2, 7, NOON, "north"), "south"]


def test_fails_where_no_such_task_is_declared() -> None:
    sign = StopSign()
    run = execute(run_of("other"), {}, sign, FakeClock())
    assert run.state is RunState.FAILED
    assert "'other'" in run.error
    assert not sign.inside


@pytest.mark.parametrize("args", [{}, {"wrong": 1}, {"place": 1, "more": 2}])
def test_fails_for_wrong_arguments_without_calling(args: dict[str, Any]) -> None:
    called: list[object] = []
    run = ended(lambda *, place: called.append(place), run_of(**args))
    assert (run.state, called) == (RunState.FAILED, [])
    assert "cannot be called so" in run.error


def test_fails_a_body_that_went_over_its_time() -> None:
    def body(run: Run) -> str:
        while not run.cancelled():
            pass
        return "too late"

    began = monotonic()
    run = ended(body, run_of(timeout=0.02), bind=True)
    assert (run.state, run.error) == (RunState.FAILED, "timed out after 0.02 s")
    assert monotonic() - began < 50


def test_goes_by_the_jobs_timeout_before_the_tasks() -> None:
    deadlines: list[object] = []

    def body(run: Run) -> None:
        deadlines.append(run.deadline)

    ended(body, run_of(), bind=True, timeout=60.0)
    ended(body, run_of(timeout=90.0), bind=True, timeout=60.0)
    ended(body, run_of(), bind=True)
    assert deadlines == [NOON + 2 * LEASE, NOON + 3 * LEASE, None]


def test_ends_cancelled_when_it_was_asked_to_stop() -> None:
    sign, started = StopSign(), threading.Event()

    def body(run: Run) -> None:
        started.set()
        while not run.cancelled():
            pass

    threading.Thread(target=lambda: started.wait(60) and sign.put_up("by\nAnn")).start()
    run = ended(body, sign=sign, bind=True)
    assert (run.state, run.error) == (RunState.CANCELLED, "by Ann")


def test_is_cancelled_before_it_is_over_its_time() -> None:
    sign = StopSign()

    def body(run: Run) -> None:
        while not run.cancelled():
            pass
        sign.put_up("cancelled")

    assert ended(body, run_of(timeout=0.01), sign=sign, bind=True).state is RunState.CANCELLED


def test_starts_no_body_under_a_sign_that_is_up() -> None:
    called: list[object] = []
    sign = StopSign()
    sign.put_up("its worker drains", hand_back=True)
    run = ended(lambda: called.append(1), sign=sign)
    assert (run.state, called) == (RunState.CANCELLED, [])


@pytest.mark.parametrize("bind", [False, True])
def test_what_a_drain_did_not_reach_has_ended_as_it_did(bind: bool) -> None:
    sign = StopSign()

    def body(*run: Run) -> str:
        sign.put_up("its worker drains", hand_back=True)
        return "all done"

    run = ended(body, sign=sign, bind=bind)
    assert (run.state, run.result) == (RunState.SUCCEEDED, '"all done"')


def test_is_inside_only_while_the_body_runs() -> None:
    sign, seen = StopSign(), list[bool]()
    assert not sign.inside
    ended(lambda: seen.append(sign.inside), sign=sign)
    assert (seen, sign.inside) == ([True], False)


async def wave() -> None:
    pytest.fail("nobody waits for it")


def test_fails_a_task_that_returns_a_coroutine() -> None:
    run = ended(partial(lambda call: call(), wave))
    assert run.state is RunState.FAILED
    assert "asyncio.run" in run.error
