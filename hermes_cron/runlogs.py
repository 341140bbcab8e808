"""What a run said, for who asks for it: at the command line, over HTTP, or by eye."""

from __future__ import annotations

import time
from datetime import timedelta

from hermes_cron.client import Client
from hermes_cron.clock import monotonic
from hermes_cron.errors import RunNotEnded, RunNotFound
from hermes_cron.output import Output
from hermes_cron.run import Run

SOON_S = 2.0
"""How long after its end what a run said may not be kept yet."""

_POLL_S = 0.1


def run_or_last(client: Client, name: str) -> Run:
    """The run with this id, else the last run of the job with this id.

    Raises:
        RunNotFound: There is neither.
    """
    try:
        return client.find_run(name)
    except RunNotFound:
        last = client.runs(name, 1)
        if not last:
            raise
        return last[0]


def output_soon(client: Client, run: Run, seconds: float = SOON_S) -> Output | None:
    """The same as `output_of`, and waited for so long where the run has ended just now: it is kept after the outcome.

    Raises:
        RunNotEnded: It has not ended.
    """
    until = monotonic() + seconds
    while True:
        output = output_of(client, run)
        fresh = run.ended_at is not None and client.now() < run.ended_at + timedelta(seconds=seconds)
        if output is not None or not fresh or monotonic() >= until:
            return output
        time.sleep(_POLL_S)


def output_of(client: Client, run: Run) -> Output | None:
    """What an ended run said; None where nothing of it is kept.

    Raises:
        RunNotEnded: It has not ended.
    """
    if run.open:
        raise RunNotEnded(f"The run {run.id} has not ended.", hint="What it says is kept when it ends.")
    return client.output(run.id)
