"""Join the HTTP side: the webhook and what is asked about the process, as one Falcon application."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import falcon

from hermes_cron.api.status import Health, LoadReport, Readiness
from hermes_cron.interfaces import Broker, FireVerifier, Store
from hermes_cron.webhook import FireWebhook

_log = logging.getLogger("hermes_cron.web")


def make_webapp(
    verifier: FireVerifier, broker: Broker, store: Callable[[], Store]
) -> falcon.App[falcon.Request, falcon.Response]:
    """The application that answers fires and questions; `store` is called at the first question that needs it."""
    app = falcon.App()
    app.req_options.strip_url_path_trailing_slash = False
    app.set_error_serializer(_plain_error)
    app.add_error_handler(Exception, _unforeseen)
    kept = _once(store)
    for resource in (
        FireWebhook(verifier, broker), Health(), Readiness(verifier, broker), LoadReport(broker, kept),
    ):  # fmt: skip
        app.add_route(resource.path, resource)
    return app


def _once(make: Callable[[], Store]) -> Callable[[], Store]:
    lock = threading.Lock()
    made: list[Store] = []

    def kept() -> Store:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return kept


def _unforeseen(req: falcon.Request, resp: falcon.Response, error: Exception, params: dict[str, Any]) -> None:
    """A bug of ours goes into our log, on one line, and not into the answer."""
    _log.error("%s %s failed", req.method, req.path, exc_info=error)
    _plain_error(req, resp, falcon.HTTPInternalServerError())
    resp.status = falcon.HTTP_500


def _plain_error(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    """One form for what the framework refuses by itself: an unknown path, another method, a broken request."""
    resp.content_type = falcon.MEDIA_JSON
    resp.data = json.dumps(
        {"error": {"code": str(error.status)[:3], "message": error.title or str(error.status)[4:]}}
    ).encode()
