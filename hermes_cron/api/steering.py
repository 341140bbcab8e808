"""`/api/cron/arms` and `/api/cron/stop`: what is wanted of those who wake us, and the stop of everything."""

from __future__ import annotations

from collections.abc import Callable

import falcon

from hermes_cron import views
from hermes_cron.api import forms
from hermes_cron.api.answers import answer
from hermes_cron.api.asking import given, read_query
from hermes_cron.api.operation import operation
from hermes_cron.api.pages import page_by_id
from hermes_cron.client import Client


class Arms:
    """All arms."""

    path = "/api/cron/arms"

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    @operation({200: forms.ArmPage}, query=forms.ArmsQuery)
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List what is wanted and what is confirmed, by job id."""
        query, client = read_query(req, forms.ArmsQuery), self._client()
        every = [views.arm_view(record, confirms=client.confirms) for record in client.arms()]
        rows = [row for row in every if row["state"] != "none" and (query.sentinels or not row["sentinel"])]
        page, after = page_by_id(rows, lambda row: str(row["job_id"]), query.limit, given(query.cursor))
        answer(resp, {"items": list(page), "next": after})


class Stop:
    """The global stop."""

    path = "/api/cron/stop"

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    @operation({200: forms.StopView})
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Tell whether everything is stopped."""
        answer(resp, {"stopped": self._client().stopped()})

    @operation({200: forms.StopView})
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Stop everything: once this is answered nothing starts; live runs go on."""
        self._client().stop()
        answer(resp, {"stopped": True})

    @operation({200: forms.StopView})
    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        """End the stop; what came due meanwhile is skipped."""
        self._client().start()
        answer(resp, {"stopped": False})
