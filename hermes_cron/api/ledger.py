"""`/api/cron/runs`: the ledger, fires and their outcomes with the runs they took; and one run."""

from __future__ import annotations

from collections.abc import Callable

import falcon

from hermes_cron import views
from hermes_cron.api import forms
from hermes_cron.api.answers import answer
from hermes_cron.api.asking import given, read_query
from hermes_cron.api.jobs import asked_view
from hermes_cron.api.operation import operation
from hermes_cron.api.pages import no_cursor
from hermes_cron.browse import ledger_page, ledger_place
from hermes_cron.client import Client
from hermes_cron.ledger import FireState
from hermes_cron.runlogs import output_of

RUNS = "/api/cron/runs"
RUN = RUNS + "/{run_id}"


class Ledger:
    """All fires that came due."""

    path = RUNS

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    @operation({200: forms.FirePage}, query=forms.RunsQuery, refusals=(404,))
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List fires, the newest first, each with its outcome and its runs."""
        query, client = read_query(req, forms.RunsQuery), self._client()
        job_id, state = given(query.job), given(query.state)
        try:
            before = ledger_place(given(query.cursor))
        except ValueError as error:
            raise no_cursor() from error
        page = ledger_page(client, job_id, (FireState(state),) if state else (), query.limit, before)
        if not page.entries and job_id is not None:
            # Of a job that is no more the ledger stays; of one that never was, the id is wrong.
            client.get(job_id)
        rows = views.fire_views(page.entries, client.runs_of(page.entries))
        answer(resp, {"items": rows, "next": page.after})


class OneRun:
    """One run."""

    path = RUN

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    @operation({200: forms.RunView}, refusals=(404,))
    def on_get(self, req: falcon.Request, resp: falcon.Response, run_id: str) -> None:
        """Show a run: what it was to do, and what became of it."""
        answer(resp, views.run_view(self._client().find_run(run_id)))


class RunLogs:
    """What one run said."""

    path = RUN + "/logs"

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    @operation({200: forms.OutputView}, refusals=(404, 409))
    def on_get(self, req: falcon.Request, resp: falcon.Response, run_id: str) -> None:
        """Show what an ended run printed and logged."""
        client = self._client()
        run = client.find_run(run_id)
        answer(resp, views.output_view(run, output_of(client, run)))


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
