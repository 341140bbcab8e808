"""Run one task in its time, and fill in the run: a function from `Run` to `Run`."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from hermes_cron.clock import Clock, monotonic
from hermes_cron.errors import HermesCronError
from hermes_cron.run import Run, RunState, StopSign
from hermes_cron.task import Task

MAX_RESULT_BYTES = 64 * 1024
MAX_ERROR_CHARS = 500

_log = logging.getLogger("hermes_cron.execution")


def execute(run: Run, tasks: Mapping[str, Task], sign: StopSign, clock: Clock) -> Run:
    """The run as it ended: its state, error and result. Nothing that the task does gets out of here.

    A body that was asked to stop ends `cancelled`; one that went over its time ends `failed`, whenever it returns.
    """
    task = tasks.get(run.task)
    if task is None:
        return _failed(run, f"there is no task {run.task!r} in this worker; start it with the app that declares it")
    timeout = run.timeout if run.timeout is not None else task.timeout
    until = None if timeout is None else monotonic() + timeout
    deadline = None if timeout is None else clock() + timedelta(seconds=timeout)
    run = replace(run, deadline=deadline, stop_asked=lambda: sign.up() or _over(until))
    try:
        task.check(run.args)
        result = task.call(run, **run.args) if task.bind else task.call(**run.args)
        ended = _kept(run, result)
    except HermesCronError as error:
        ended = _failed(run, str(error))
    except BaseException as error:  # noqa: BLE001 - a body may raise anything, SystemExit too; it ends its run only.
        _log.warning("run %s: the task %s raised:\n%s", run.id, run.task, traceback.format_exc().rstrip())
        ended = _failed(run, f"{type(error).__name__}: {error}")
    sign.returned = True
    if sign.up():
        return replace(ended, state=RunState.CANCELLED, error=sign.reason)
    if _over(until):
        return _failed(ended, f"timed out after {timeout:g} s")
    return ended


def _over(until: float | None) -> bool:
    return until is not None and monotonic() >= until


def _kept(run: Run, result: object) -> Run:
    try:
        text = "" if result is None else json.dumps(result, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError) as error:
        text = json.dumps(f"the result is not JSON: {type(error).__name__}")
    size = len(text.encode(errors="replace"))
    if size > MAX_RESULT_BYTES:
        text = json.dumps(f"the result is left out: {size} bytes, of {MAX_RESULT_BYTES} that are kept")
    return replace(run, state=RunState.SUCCEEDED, result=text.encode(errors="replace").decode(), error="")


def _failed(run: Run, words: str) -> Run:
    line = " ".join(words.encode(errors="replace").decode().split())
    return replace(run, state=RunState.FAILED, error=line[:MAX_ERROR_CHARS])
