"""The application under chaos: every body leaves lines, with the wall clock, in an outside history."""

from __future__ import annotations

import os
import time
from pathlib import Path

from hermes_cron.app import HermesCron
from hermes_cron.run import Run

app = HermesCron("chaos")


def note(run: Run, what: str) -> None:
    """One line, appended whole."""
    line = f"{time.time():.6f} {what} {run.job_id} {run.fire_at.isoformat()} {run.fence} {run.attempt} {os.getpid()}\n"
    with Path(os.environ["HERMES_CRON_TEST_HISTORY"]).open("ab", buffering=0) as file:
        file.write(line.encode())


@app.task(name="mark", bind=True)
def mark(run: Run) -> None:
    note(run, "ran")


@app.task(name="slow", bind=True)
def slow(run: Run, seconds: float = 3.0) -> None:
    note(run, "began")
    until = time.monotonic() + seconds
    while time.monotonic() < until and not run.cancelled():
        time.sleep(0.02)
    note(run, "ended")


@app.task(name="flaky", bind=True)
def flaky(run: Run) -> None:
    note(run, "tried")
    if run.attempt % 2:
        raise RuntimeError("every other attempt fails")
