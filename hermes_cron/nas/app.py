"""NAS over HTTP: what agents call, what an outside scheduler calls, and the keys that everybody may read."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import falcon

from hermes_cron import contract
from hermes_cron.clock import Clock, instant_text
from hermes_cron.errors import HermesCronError, StoreError
from hermes_cron.nas.agents import Agent, Agents
from hermes_cron.nas.asking import (
    MAX_BATCH_BYTES,
    Refusal,
    invalid,
    read_ask,
    read_body,
    read_items,
    read_job_id,
    read_object,
)
from hermes_cron.nas.book import Book
from hermes_cron.nas.callback import Callbacks
from hermes_cron.nas.held import Ask, Held, State
from hermes_cron.nas.keys import KeyRing
from hermes_cron.nas.limits import Limits
from hermes_cron.nas.signature import Signatures
from hermes_cron.nas.timer import Timer

PAGE = 500
HORIZON_S = 100 * 365 * 86_400
"""Far beyond any job; an instant beyond even that is held all the same."""

PRECISION_S = 0.05
QUOTA_RETRY_S = 60

_log = logging.getLogger("hermes_cron.nas")


@dataclass(frozen=True, slots=True)
class Parts:
    """What stands behind the endpoints."""

    agents: Agents
    book: Book
    callbacks: Callbacks
    keys: KeyRing
    limits: Limits
    signatures: Signatures
    timer: Timer
    clock: Clock
    settle: float


def make_app(parts: Parts) -> falcon.App[falcon.Request, falcon.Response]:
    """The WSGI application."""
    app = falcon.App()
    for endpoint in (Provision, Cancel, Listing, Batch, Capabilities, Relay, KeySet, Health):
        app.add_route(endpoint.path, endpoint(parts))
    app.add_error_handler(Exception, _broken)
    app.add_error_handler(StoreError, _no_state)
    app.add_error_handler(falcon.HTTPError, _wrong)
    app.add_error_handler(Refusal, _refused)
    return app


class _Endpoint:
    """An endpoint of NAS."""

    path: str

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def _agent(self, req: falcon.Request) -> Agent:
        """The agent that calls, if it may call now."""
        scheme, _, token = str(req.env.get("HTTP_AUTHORIZATION", "")).partition(" ")
        agent = self._parts.agents.by_token(token.strip(" ")) if scheme.lower() == "bearer" else None
        if agent is None:
            raise Refusal(401, "invalid_token", "no agent has this token")
        if agent.revoked_at is not None:
            raise Refusal(403, "invalid_client", "this agent was revoked")
        wait = self._parts.limits.wait(agent.id)
        if wait:
            raise Refusal(429, "too_many_calls", "this agent calls too often", retry_after=wait)
        return agent


class Provision(_Endpoint):
    """`POST /api/agent-cron/provision`: hold a fire of a job; one arm per job."""

    path = contract.PROVISION_PATH

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 with the `schedule_id` once the arm is on the disk."""
        agent = self._agent(req)
        ask = read_ask(read_object(read_body(req)), self._parts.callbacks, self._parts.callbacks.deadline())
        held = self._parts.book.provision(agent.id, [ask])[0]
        if held is None:
            raise _over_quota()
        self._parts.timer.ring()
        _answer(resp, 200, {"schedule_id": held.schedule_id})


class Cancel(_Endpoint):
    """`POST /api/agent-cron/cancel`: hold nothing more for a job."""

    path = contract.CANCEL_PATH

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200, also for an unknown job."""
        agent = self._agent(req)
        self._parts.book.cancel(agent.id, [read_job_id(read_object(read_body(req)))])
        _answer(resp, 200, {"ok": True})


class Listing(_Endpoint):
    """`GET /api/agent-cron/list`: what is armed for this agent, and what was given up."""

    path = contract.LIST_PATH

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Everything; with `?cursor=` (empty to begin) a page, and the `next` cursor while there is more."""
        agent = self._agent(req)
        cursor = req.get_param("cursor")
        if cursor is None:
            _answer(resp, 200, self._page(self._parts.book.listed(agent.id)))
            return
        rows = self._parts.book.listed(agent.id, beyond=_read_cursor(cursor), limit=PAGE + 1)
        more = len(rows) > PAGE
        _answer(resp, 200, {**self._page(rows[:PAGE]), "next": _cursor(rows[PAGE - 1]) if more else None})

    def _page(self, rows: Any) -> dict[str, Any]:
        delivering = self._parts.book.delivering
        armed = [held for held in rows if held.state is State.ARMED and not delivering(held)]
        dead = [held for held in rows if held.state is State.DEAD]
        return {"armed": [_shown(held) for held in armed], "dead": [{**_shown(h), "reason": h.reason} for h in dead]}


class Batch(_Endpoint):
    """`POST /api/agent-cron/batch`: up to 500 provisions and cancels in one call, each with its own result."""

    path = contract.BATCH_PATH

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 with one result per item, in order. Cancels come first: a job in both lists stays armed."""
        agent = self._agent(req)
        found = read_object(read_body(req, MAX_BATCH_BYTES))
        provisions, cancels = read_items(found, "provision"), read_items(found, "cancel")
        if len(provisions) + len(cancels) > contract.BATCH_LIMIT:
            raise invalid(f"a batch holds at most {contract.BATCH_LIMIT} items")
        answer = {"cancel": self._cancel(agent, cancels), "provision": self._provision(agent, provisions)}
        self._parts.timer.ring()
        _answer(resp, 200, answer)

    def _cancel(self, agent: Agent, items: list[Any]) -> list[dict[str, Any]]:
        read = [_tried(item, read_job_id) for item in items]
        self._parts.book.cancel(agent.id, [job_id for job_id in read if isinstance(job_id, str)])
        return [
            {**_named(item), **({"status": 200, "ok": True} if isinstance(got, str) else _result(got))}
            for item, got in zip(items, read, strict=True)
        ]

    def _provision(self, agent: Agent, items: list[Any]) -> list[dict[str, Any]]:
        until = self._parts.callbacks.deadline()
        read = [_tried(item, lambda item: read_ask(item, self._parts.callbacks, until)) for item in items]
        held = iter(self._parts.book.provision(agent.id, [ask for ask in read if isinstance(ask, Ask)]))
        results = [_armed(next(held)) if isinstance(got, Ask) else _result(got) for got in read]
        return [{**_named(item), **result} for item, result in zip(items, results, strict=True)]


class Capabilities(_Endpoint):
    """`GET /api/agent-cron/capabilities`: what this NAS can do beyond the base contract."""

    path = contract.CAPABILITIES_PATH

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200."""
        self._agent(req)
        able = {
            "settle": self._parts.settle, "batch": contract.BATCH_LIMIT, "bound_tokens": True,
            "precision_s": PRECISION_S, "max_horizon_s": HORIZON_S, "now": instant_text(self._parts.clock()),
        }  # fmt: skip
        _answer(resp, 200, able)


class Relay(_Endpoint):
    """`POST /api/agent-cron/relay`: an outside scheduler says that the time of a `schedule_id` has come.

    Only a doorbell: it wakes a NAS that sleeps, and the same timer then delivers whatever is due.
    """

    path = contract.RELAY_PATH

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 202 when the arm stands, 200 with its state otherwise; a repeated call changes nothing."""
        body = read_body(req)
        if not self._parts.signatures.good({name.lower(): text for name, text in req.headers.items()}, body):
            raise Refusal(401, "invalid_signature")
        schedule_id = read_object(body).get("schedule_id")
        if not isinstance(schedule_id, str) or not schedule_id.isascii() or len(schedule_id) > 255:
            raise invalid("schedule_id must be text", "schedule_id")
        if self._parts.signatures.repeated(req.get_header("Webhook-Id", default="")):
            _answer(resp, 202, {"status": "accepted"})
            return
        held = self._parts.book.hurry(schedule_id)
        self._parts.timer.ring()
        if held is not None and held.state in (State.ARMED, State.TRYING):
            _answer(resp, 202, {"status": "accepted"})
        else:
            _answer(resp, 200, {"status": "gone" if held is None else str(held.state)})


class KeySet(_Endpoint):
    """`GET /.well-known/jwks.json`: the public halves of the signing keys."""

    path = contract.JWKS_PATH

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 with the key set (RFC 7517)."""
        resp.set_header("Cache-Control", "public, max-age=60")
        _answer(resp, 200, self._parts.keys.jwks())


class Health(_Endpoint):
    """`GET /healthz`: NAS can read its state and its keys."""

    path = "/healthz"

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200, or 503 when it cannot do its work."""
        try:
            self._parts.book.next_due()
            self._parts.keys.jwks()
        except HermesCronError as error:
            _log.error("%s", error)
            raise Refusal(503, error.code, retry_after=5) from error
        _answer(resp, 200, {"status": "ok"})


def _tried(item: object, read: Any) -> Any:
    try:
        return read(item)
    except Refusal as refusal:
        return refusal


def _result(refusal: Refusal) -> dict[str, Any]:
    return {"status": refusal.status, **refusal.body()}


def _armed(held: Held | None) -> dict[str, Any]:
    return _result(_over_quota()) if held is None else {"status": 200, "schedule_id": held.schedule_id}


def _over_quota() -> Refusal:
    return Refusal(429, "over_quota", "this agent holds all the arms it may have", retry_after=QUOTA_RETRY_S)


def _named(item: object) -> dict[str, str]:
    job_id = item.get("job_id") if isinstance(item, Mapping) else item
    return {"job_id": job_id} if contract.is_job_id(job_id) else {}


def _shown(held: Held) -> dict[str, str]:
    return {"job_id": held.job_id, "fire_at": instant_text(held.fire_at), "schedule_id": held.schedule_id}


def _cursor(held: Held) -> str:
    return base64.urlsafe_b64encode(held.job_id.encode()).decode().rstrip("=")


def _read_cursor(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError) as error:
        raise invalid("this cursor is none of ours", "cursor") from error


def _answer(resp: falcon.Response, status: int, body: Mapping[str, Any]) -> None:
    resp.status = status
    resp.content_type = falcon.MEDIA_JSON
    resp.data = json.dumps(body).encode()


def _refused(req: falcon.Request, resp: falcon.Response, error: Refusal, params: Any) -> None:
    if error.status == 401:
        resp.set_header("WWW-Authenticate", "Bearer")
    if error.retry_after is not None:
        resp.set_header("Retry-After", str(max(1, math.ceil(error.retry_after))))
    _answer(resp, error.status, error.body())


def _wrong(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError, params: Any) -> None:
    for name, value in (error.headers or {}).items() if isinstance(error.headers, Mapping) else error.headers or ():
        resp.set_header(name, value)
    code = error.status_code
    _answer(resp, code, {"error": {404: "not_found", 405: "method_not_allowed"}.get(code, "invalid_request")})


def _no_state(req: falcon.Request, resp: falcon.Response, error: StoreError, params: Any) -> None:
    _log.error("%s", error)
    resp.set_header("Retry-After", "1")
    _answer(resp, 503, {"error": error.code})


def _broken(req: falcon.Request, resp: falcon.Response, error: Exception, params: Any) -> None:
    _log.error("%s %s failed", req.method, req.path, exc_info=error)
    _answer(resp, 500, {"error": "internal_error"})
