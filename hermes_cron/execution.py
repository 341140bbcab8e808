"""Run one task in its time, and fill in the run: a function from `Run` to `Run`."""

from __future__ import annotations

import inspect
import json
import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from hermes_cron.clock import Clock, monotonic
from hermes_cron.errors import HermesCronError
from hermes_cron.run import Run, RunState, StopSign
from hermes_cron.task import Task

MAX_RESULT_BYTES = 64 * 1024
MAX_ERROR_CHARS = 500

_log = logging.getLogger("hermes_cron.execution")


def execute(
    run: Run, tasks: Mapping[str, Task], sign: StopSign, clock: Clock, ticks: Callable[[], float] = monotonic
) -> Run:
    """The run as it ended: its state, error and result. Nothing that the task does gets out of here.

    `ticks` are seconds that never go back, by which its time is measured. A body that was asked to stop ends
    `cancelled`; one that went over its time ends `failed`, whenever it returns. One that its worker would hand back,
    but that ended without having heard of it, has ended as it did.
    """
    task = tasks.get(run.task)
    if task is None:
        return _failed(run, f"there is no task {run.task!r} in this worker; start it with the app that declares it")
    timeout = run.timeout if run.timeout is not None else task.timeout
    until = None if timeout is None else ticks() + timeout
    deadline = None if timeout is None else clock() + timedelta(seconds=timeout)
    run = replace(run, deadline=deadline, stop_asked=lambda: sign.hear() or _over(until, ticks))
    sign.inside = True
    # Only now: who puts the sign up either finds a body inside, or is seen before there is one.
    ended = run if sign.hear() else _called(run, task)
    sign.inside = False
    if sign.up() and (sign.heard or not sign.hand_back):
        return replace(ended, state=RunState.CANCELLED, error=_line(sign.reason))
    if _over(until, ticks):
        return _failed(ended, f"timed out after {timeout:g} s")
    return ended


def _called(run: Run, task: Task) -> Run:
    try:
        task.check(run.args)
        result = task.call(run, **run.args) if task.bind else task.call(**run.args)
    except HermesCronError as error:
        return _failed(run, _words(error))
    except BaseException as error:  # noqa: BLE001 - a body may raise anything, SystemExit too; it ends its run only.
        _log.warning("run %s: the task %s raised:\n%s", run.id, run.task, traceback.format_exc().rstrip())
        return _failed(run, f"{type(error).__name__}: {_words(error)}")
    if inspect.iscoroutine(result):
        result.close()
        return _failed(run, f"the task {run.task!r} is a coroutine, which nobody ran; wrap it in asyncio.run")
    return _kept(run, result)


def _over(until: float | None, ticks: Callable[[], float]) -> bool:
    return until is not None and ticks() >= until


def _kept(run: Run, result: object) -> Run:
    try:
        text = "" if result is None else json.dumps(result, ensure_ascii=False, allow_nan=False, default=repr)
    except Exception as error:  # noqa: BLE001 - its `repr` may raise anything, and what was done is done.
        text = json.dumps(f"the result is not JSON: {type(error).__name__}")
    size = len(text.encode(errors="replace"))
    if size > MAX_RESULT_BYTES:
        text = json.dumps(f"the result is left out: {size} bytes, of {MAX_RESULT_BYTES} that are kept")
    return replace(run, state=RunState.SUCCEEDED, result=text.encode(errors="replace").decode(), error="")


def _failed(run: Run, words: str) -> Run:
    return replace(run, state=RunState.FAILED, error=_line(words))


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a task's own exceptions may do anything here, too.
        return "its words cannot be read"


def _line(words: str) -> str:
    return " ".join(words.encode(errors="replace").decode().split())[:MAX_ERROR_CHARS]
