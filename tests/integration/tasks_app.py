"""The application of the integration tests: each body leaves a line in the file HERMES_CRON_TEST_HISTORY names."""

from __future__ import annotations

import os
import time
from pathlib import Path

from hermes_cron.app import HermesCron
from hermes_cron.run import Run

app = HermesCron("it")


def note(run: Run, what: str) -> None:
    """One line, appended whole."""
    line = f"{what} {run.job_id} {run.fire_at.isoformat()} {run.fence} {run.attempt} {os.getpid()}\n"
    with Path(os.environ["HERMES_CRON_TEST_HISTORY"]).open("ab", buffering=0) as file:
        file.write(line.encode())


@app.task(name="mark", bind=True)
def mark(run: Run) -> str:
    note(run, "ran")
    return "done"


@app.task(name="slow", bind=True)
def slow(run: Run, seconds: float = 10.0) -> str:
    note(run, "began")
    until = time.monotonic() + seconds
    while time.monotonic() < until and not run.cancelled():
        time.sleep(0.02)
    note(run, "ended")
    return "done"


@app.task(name="fail")
def fail() -> None:
    raise RuntimeError("as it should")


@app.task(name="flaky", bind=True)
def flaky(run: Run, good: int) -> str:
    """Fails until its attempt number `good`."""
    note(run, "tried")
    if run.attempt < good:
        raise RuntimeError("as it should")
    return "done"
