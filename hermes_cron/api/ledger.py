"""`/api/cron/runs`: the ledger, fires and their outcomes with the runs they took; and one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import falcon

from hermes_cron import views
from hermes_cron.api import forms
from hermes_cron.api.answers import Refusal, answer
from hermes_cron.api.asking import read_query
from hermes_cron.api.jobs import asked_view
from hermes_cron.api.operation import operation
from hermes_cron.api.pages import cursor_of, place_of
from hermes_cron.client import Client
from hermes_cron.clock import instant_text, read_instant
from hermes_cron.ledger import Entry, FireState
from hermes_cron.run import Run

RUNS = "/api/cron/runs"
RUN = RUNS + "/{run_id}"
_SLACK = 50
_DEEPEST = 1_000_000
_MOST_RUNS = 10_000
Place = tuple[datetime, str, str]
"""Where a fire stands in the ledger: a total order, also of fires at one instant."""


class Ledger:
    """All fires that came due."""

    path = RUNS

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    @operation({200: forms.FirePage}, query=forms.RunsQuery, refusals=(404,))
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List fires, the newest first, each with its outcome and its runs."""
        query, client = read_query(req, forms.RunsQuery), self._client()
        states = (FireState(query.state),) if query.state else ()
        entries, after = page_of_fires(client, query.job, states, query.limit, query.cursor)
        if not entries and query.job is not None:
            # Of a job that is no more the ledger stays; of one that never was, the id is wrong.
            client.get(query.job)
        rows = views.fire_views(entries, runs_of(client, query.job, entries))
        answer(resp, {"items": rows, "next": after})


class OneRun:
    """One run."""

    path = RUN

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    @operation({200: forms.RunView}, refusals=(404,))
    def on_get(self, req: falcon.Request, resp: falcon.Response, run_id: str) -> None:
        """Show a run: what it was to do, and what became of it."""
        answer(resp, views.run_view(self._client().find_run(run_id)))


class CancelRun:
    """The end of a live run."""

    path = RUN + "/cancel"

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    @operation({202: forms.RunView}, refusals=(404,))
    def on_post(self, req: falcon.Request, resp: falcon.Response, run_id: str) -> None:
        """Ask the body of a live run to stop; its worker hears of it when it next renews the lease."""
        answer(resp, views.run_view(self._client().cancel(run_id)), 202)


class RetryRun:
    """A run once more."""

    path = RUN + "/retry"

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    @operation({202: forms.RunAsked}, refusals=(404, 409))
    def on_post(self, req: falcon.Request, resp: falcon.Response, run_id: str) -> None:
        """Run the job of a run once more, now, with the arguments that the job has today."""
        client = self._client()
        answer(resp, asked_view(client, client.retry(run_id)), 202)


def page_of_fires(
    client: Client, job_id: str | None, states: Sequence[FireState], limit: int, cursor: str | None
) -> tuple[Sequence[Entry], str | None]:  # fmt: skip
    """One page of the ledger, and the cursor of the page after it, if there is more.

    The store gives the newest so many; so a page further back costs what lies before it, and new fires move nothing.
    """
    after, seen = _read_cursor(cursor)
    window = seen + limit + _SLACK
    while True:
        found = client.fires(job_id, window, states)
        whole = len(found) < window
        # At the end of a full window, fires of the very same instant may be missing.
        sure = found if whole else [entry for entry in found if entry.fire_at > found[-1].fire_at]
        rest = [entry for entry in sorted(sure, key=_place, reverse=True) if after is None or _place(entry) < after]
        if whole or len(rest) > limit or window > _DEEPEST:
            break
        window *= 2
    page = rest[:limit]
    return page, _write_cursor(page[-1], seen + limit) if len(rest) > limit else None


def runs_of(client: Client, job_id: str | None, entries: Sequence[Entry]) -> Sequence[Run]:
    """The runs of these fires; those of very old ones may be beyond what is looked through."""
    wanted = {(entry.job_id, entry.key) for entry in entries if entry.attempts}
    attempts = sum(entry.attempts for entry in entries)
    window = 100 + 2 * attempts
    while wanted:
        found = client.runs(job_id, window)
        runs = [run for run in found if (run.job_id, run.key) in wanted]
        if len(runs) >= attempts or len(found) < window or window >= _MOST_RUNS:
            return runs
        window *= 4
    return ()


def _place(entry: Entry) -> Place:
    return entry.fire_at, entry.key, entry.job_id


def _write_cursor(last: Entry, seen: int) -> str:
    return cursor_of(instant_text(last.fire_at), last.key, last.job_id, str(seen))


def _read_cursor(cursor: str | None) -> tuple[Place | None, int]:
    if cursor is None:
        return None, 0
    fire_at, key, job_id, seen = place_of(cursor, 4)
    try:
        return (read_instant(fire_at), key, job_id), min(int(seen[:9]), _DEEPEST)
    except ValueError as error:
        raise Refusal(400, "query_invalid", "cursor is none of ours.", field="cursor") from error
