"""The application of `demo` and `dev`: one task, and a name to copy."""

from __future__ import annotations

from hermes_cron.app import HermesCron
from hermes_cron.run import Run

app = HermesCron("demo")


@app.task(name="demo.tide", bind=True)
def tide(run: Run, place: str = "Lisbon") -> str:
    """Say where the tide was looked at, and for which fire."""
    return f"looked at the tide in {place} for {run.fire_at:%H:%M:%S}, attempt {run.attempt}"
