"""The application of the pool's system tests: that of the others, and bodies that do to their process what they can."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time

import tasks_app

from hermes_cron.run import Run

app = tasks_app.app
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"


@app.task(name="killed", bind=True)
def killed(run: Run) -> None:
    """Every run of it kills its process."""
    tasks_app.note(run, "killed")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="brood", bind=True)
def brood(run: Run, stuck: bool = False) -> None:
    """Starts processes that are deaf to SIGTERM, as it is itself; `stuck`: no thread of Python goes on in it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pids = [os.getpid(), *(subprocess.Popen([sys.executable, "-c", DEAF]).pid for _ in range(2))]
    tasks_app.note(run, "brood-" + "-".join(map(str, pids)))
    if stuck:
        ctypes.PyDLL(None).sleep(120)
    time.sleep(120)


@app.task(name="speak")
def speak(killed: bool = False) -> None:
    """Says what it can in all the ways there are."""
    print("to stdout")
    print("to stderr", file=sys.stderr)
    print("<b>bold \x1b[2J")
    print("the token is", os.environ["HERMES_CRON_CRON__CHRONOS__ACCESS_TOKEN"])
    logging.getLogger("speaker").warning("logged")
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
