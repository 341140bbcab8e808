"""NAS over HTTP: what agents call, what an outside scheduler calls, and the keys that everybody may read."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import falcon

from hermes_cron import contract
from hermes_cron.errors import HermesCronError
from hermes_cron.nas.asking import Refusal, invalid, read_body, read_object
from hermes_cron.nas.calls import Batch, Cancel, Capabilities, Listing, Provision
from hermes_cron.nas.endpoint import Endpoint, Parts, answer
from hermes_cron.nas.held import State

_log = logging.getLogger("hermes_cron.nas")


def make_app(parts: Parts) -> falcon.App[falcon.Request, falcon.Response]:
    """The WSGI application."""
    app = falcon.App()
    for endpoint in (Provision, Cancel, Listing, Batch, Capabilities, Relay, KeySet, Health):
        app.add_route(endpoint.path, endpoint(parts))
    app.add_error_handler(Exception, _broken)
    app.add_error_handler(HermesCronError, _unable)
    app.add_error_handler(falcon.HTTPError, _wrong)
    app.add_error_handler(Refusal, _refused)
    return app


class Relay(Endpoint):
    """`POST /api/agent-cron/relay`: an outside scheduler says that the time of a `schedule_id` has come.

    Only a doorbell: it wakes a NAS that sleeps, and the same timer then delivers whatever is due.
    """

    path = contract.RELAY_PATH

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 202 when the arm stands, 200 with its state otherwise; a repeated call changes nothing."""
        body = read_body(req)
        if not self.parts.signatures.good({name.lower(): text for name, text in req.headers.items()}, body):
            raise Refusal(401, "invalid_signature")
        schedule_id = read_object(body).get("schedule_id")
        if not isinstance(schedule_id, str) or not schedule_id.isascii() or len(schedule_id) > 255:
            raise invalid("schedule_id must be text", "schedule_id")
        call_id = req.get_header("Webhook-Id", default="")
        if self.parts.signatures.repeated(call_id):
            answer(resp, 202, {"status": "accepted"})
            return
        held = self.parts.book.hurry(schedule_id)
        self.parts.signatures.remember(call_id)
        self.parts.timer.ring()
        if held is not None and held.state in (State.ARMED, State.TRYING):
            answer(resp, 202, {"status": "accepted"})
        else:
            answer(resp, 200, {"status": "gone" if held is None else str(held.state)})


class KeySet(Endpoint):
    """`GET /.well-known/jwks.json`: the public halves of the signing keys."""

    path = contract.JWKS_PATH

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 with the key set (RFC 7517)."""
        resp.set_header("Cache-Control", "public, max-age=60")
        answer(resp, 200, self.parts.keys.jwks())


class Health(Endpoint):
    """`GET /healthz`: NAS can read its state and its keys."""

    path = "/healthz"

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200, or 503 when it cannot do its work."""
        self.parts.book.next_due(self.parts.clock())
        self.parts.keys.jwks()
        if not self.parts.timer.alive:
            raise Refusal(503, "no_timer", "nothing is delivered", retry_after=5)
        answer(resp, 200, {"status": "ok"})


def _refused(req: falcon.Request, resp: falcon.Response, error: Refusal, params: Any) -> None:
    if error.status == 401:
        resp.set_header("WWW-Authenticate", "Bearer")
    if error.retry_after is not None:
        resp.set_header("Retry-After", str(max(1, math.ceil(error.retry_after))))
    answer(resp, error.status, error.body())


def _wrong(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: Any) -> None:
    for name, value in (error.headers or {}).items() if isinstance(error.headers, Mapping) else error.headers or ():
        resp.set_header(name, value)
    code = error.status_code
    answer(resp, code, {"error": {404: "not_found", 405: "method_not_allowed"}.get(code, "invalid_request")})


def _unable(req: falcon.Request, resp: falcon.Response, error: HermesCronError, params: Any) -> None:
    _log.error("%s", error)
    resp.set_header("Retry-After", "1")
    answer(resp, 503, {"error": error.code})


def _broken(req: falcon.Request, resp: falcon.Response, error: Exception, params: Any) -> None:
    _log.error("%s %s failed", req.method, req.path, exc_info=error)
    answer(resp, 500, {"error": "internal_error"})
