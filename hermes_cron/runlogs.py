"""What a run said, for who asks for it: at the command line, over HTTP, or by eye."""

from __future__ import annotations

from hermes_cron.client import Client
from hermes_cron.errors import RunNotEnded, RunNotFound
from hermes_cron.output import Output
from hermes_cron.run import Run


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


def output_of(client: Client, run: Run) -> Output | None:
    """What an ended run said; None where nothing of it is kept.

    Raises:
        RunNotEnded: It has not ended.
    """
    if run.open:
        raise RunNotEnded(f"The run {run.id} has not ended.", hint="What it says is kept when it ends.")
    return client.output(run.id)
