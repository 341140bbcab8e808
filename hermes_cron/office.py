"""Join API and dashboard, behind one porter. Loaded at their first request: who is woken for one fire pays nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import falcon

from hermes_cron.api import jobs, ledger, steering
from hermes_cron.api.answers import refusal_of, refuse
from hermes_cron.api.openapi import Document, document
from hermes_cron.api.operation import Resource
from hermes_cron.api.porter import Porter, name_of_bind
from hermes_cron.apikeys import KeyRing
from hermes_cron.client import Client
from hermes_cron.dashboard import pages

App = falcon.App[falcon.Request, falcon.Response]


def make_office(
    client: Callable[[], Client], load: Callable[[], Mapping[str, int | None]], keys: KeyRing | None, bind: str
) -> App:
    """The application that answers people and their programs; `client` is called at the first question it is for."""
    app = falcon.App(middleware=[Porter(keys, name_of_bind(bind), pages.Static.paths)])
    app.req_options.strip_url_path_trailing_slash = False
    app.req_options.auto_parse_qs_csv = False
    app.req_options.keep_blank_qs_values = True
    resources = api_resources(client)
    shown = [kind(client, load) for kind in (pages.Overview, pages.Jobs, pages.Job, pages.Runs, pages.Run)]
    for resource in (*resources, Document(resources), *shown, pages.Static()):
        app.add_route(resource.path, resource)
    app.add_error_handler(Exception, _refuse)
    app.add_error_handler(falcon.HTTPError, _refuse)
    return app


def api_resources(client: Callable[[], Client]) -> list[Resource]:
    """All that the API is made of."""
    kinds: list[Callable[[Callable[[], Client]], Resource]] = [
        jobs.Jobs, jobs.OneJob, jobs.PauseJob, jobs.ResumeJob, jobs.RunJob, jobs.NextOfJob,
        ledger.Ledger, ledger.OneRun, ledger.RunLogs, ledger.CancelRun, ledger.RetryRun, steering.Arms, steering.Stop,
    ]  # fmt: skip
    return [kind(client) for kind in kinds]


def openapi() -> dict[str, Any]:
    """The API's OpenAPI document."""
    resources = api_resources(_nobody)
    return document([*resources, Document(resources)])


def _refuse(req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]) -> None:
    """One form for programs; a page for who looks at pages."""
    refusal = refusal_of(error)
    refuse(resp, refusal)
    looks = req.method == "GET" and not req.path.startswith("/api/") and "text/html" in (req.get_header("Accept") or "")
    if looks:
        resp.data = None
        pages.show_refusal(resp, refusal.status, refusal.message)


def _nobody() -> Client:
    raise NotImplementedError("a document needs no client")
