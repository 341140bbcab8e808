"""The application of the pool's tests: bodies that behave, and bodies that do to their process what they can."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from hermes_cron.app import HermesCron
from hermes_cron.run import Run
from hermes_cron.tasks.shell import Shell

app = HermesCron("bodies")
if breaks := os.environ.get("HERMES_CRON_TEST_BREAK"):
    with Path(os.environ["HERMES_CRON_TEST_STARTS"]).open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    if breaks == "exit":
        os._exit(9)
    raise ImportError("the database is away")


if hold := os.environ.get("HERMES_CRON_TEST_HOLD"):
    while Path(hold).exists():
        time.sleep(0.01)


@app.task(name="whoami", bind=True)
def whoami(run: Run, **args: Any) -> dict[str, Any]:
    return {
        "pid": os.getpid(), "group": os.getpgrp(), "fds": sorted(int(p.name) for p in Path("/proc/self/fd").iterdir()),
        "main": threading.current_thread() is threading.main_thread(), "stdin": sys.stdin.read(), "args": args,
        "run": [run.id, run.job_id, run.key, run.fire_at.isoformat(), run.attempt, run.fence, run.task],
        "deadline": None if run.deadline is None else run.deadline.isoformat(), "cancelled": run.cancelled(),
    }  # fmt: skip


@app.task(name="answer")
def answer(size: int = 0) -> object:
    return "x" * size if size else {1, 2}


@app.task(name="raise")
def fail() -> None:
    raise ValueError("no")


@app.task(name="wait", bind=True)
def wait(run: Run, seconds: float = 60.0, note: str = "") -> str:
    """Until it is told to stop."""
    if note:
        Path(note).touch()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if run.cancelled():
            return "told"
        time.sleep(0.01)
    return "not told"


@app.task(name="deaf", bind=True)
def deaf(run: Run, note: str, children: int = 0, ignore: bool = True) -> None:
    """Never asks, ignores SIGTERM, and starts processes that do the same."""
    if ignore:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    pids = [os.getpid(), *(subprocess.Popen([sys.executable, "-c", script]).pid for _ in range(children))]
    Path(note).write_text(" ".join(map(str, pids)))
    try:
        while True:
            time.sleep(1)
    finally:
        Path(f"{note}.finally").touch()


@app.task(name="die")
def die(how: str) -> None:
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(3)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "abort":
        os.abort()
    elif how == "deafen":
        os.closerange(3, 64)
    elif how == "forge":
        os.write(3, b'{"ended": {"state": "abandoned", "error": "", "result": "", "deadline": null}}\n')
        time.sleep(100)
    elif how == "garble":
        os.write(3, b"[1]\n")
        time.sleep(100)


@app.task(name="eat")
def eat() -> int:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 32 * 1024 * 1024,) * 2)
    kept = []
    while True:
        kept.append(bytearray(1024 * 1024))


@app.task(name="fork")
def fork(count: int = 5) -> str:
    """A body that returns in every one of its processes."""
    for _ in range(count):
        if os.fork() == 0:
            return "the copy"
    time.sleep(0.2)
    return "the original"


@app.task(name="terminate")
def terminate() -> int | None:
    """What people do with processes of their own."""
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    # Many short naps: a signal that comes just before a nap is handled after it.
    process = context.Process(target=lambda: (begun.set(), [time.sleep(0.05) for _ in range(600)]))
    process.start()
    begun.wait()
    process.terminate()
    process.join(60)
    return process.exitcode


@app.task(name="print")
def say(text: str, times: int = 1) -> None:
    sys.stdout.write(text * times)
    print("to stderr", file=sys.stderr)
    os.write(1, b'{"ended": {"state": "failed"}}\n')
    logging.getLogger("bodies").warning("logged by %s", "a body")


@app.task(name="last_words", bind=True)
def last_words(run: Run, how: str) -> None:
    """Says something in each of the ways there are, and is gone."""
    print("printed before")
    logging.getLogger("bodies").warning("logged before")
    Shell(enabled=True)(run, ["echo", "said by a command"])
    if how == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ctypes.PyDLL(None).sleep(120)
    die(how)
