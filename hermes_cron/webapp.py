"""Join the HTTP side: the webhook and what is asked about the process, as one Falcon application."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import falcon

from hermes_cron.api.metrics import Gauges, Metrics, Tally
from hermes_cron.api.porter import Porter, name_of_bind
from hermes_cron.api.status import Health, LoadReport, Readiness
from hermes_cron.apikeys import KeyRing
from hermes_cron.client import Client
from hermes_cron.interfaces import Broker, FireVerifier, Store
from hermes_cron.transport.message import rejections
from hermes_cron.webhook import FireWebhook

_log = logging.getLogger("hermes_cron.web")


T = TypeVar("T")
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Desk:
    """What API and dashboard work with: who opens their door (None: this machine only), and the door to jobs."""

    client: Callable[[Store], Client]
    keys: KeyRing | None = None
    bind: str = ""


class WebApp:
    """A WSGI application of two halves: what must be quick at a wake, and the office, opened at its first visitor."""

    def __init__(self, front: Wsgi, paths: Collection[str], office: Callable[[], Wsgi]) -> None:
        self._front = front
        self._paths = frozenset(paths)
        self._office = office

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request; a HEAD as the GET, without its body (RFC 9110, section 9.3.2)."""
        half = self._front if environ.get("PATH_INFO") in self._paths else self._office()
        if environ.get("REQUEST_METHOD") != "HEAD":
            return half(environ, start_response)
        body = half({**environ, "REQUEST_METHOD": "GET"}, start_response)
        getattr(body, "close", lambda: None)()
        return []


def make_webapp(
    verifier: FireVerifier, broker: Broker, store: Callable[[], Store], desk: Desk | None = None
) -> Wsgi:  # fmt: skip
    """The application that answers fires and questions; `store` is called at the first question that needs it.

    Without a desk there is neither API nor dashboard.
    """
    tally = Tally(verifier)
    front = falcon.App(middleware=[tally])
    front.req_options.strip_url_path_trailing_slash = False
    front.set_error_serializer(_plain_error)
    front.add_error_handler(Exception, _unforeseen)
    kept = _once(store)
    load = LoadReport(broker, kept)
    porter = Porter(None) if desk is None else Porter(desk.keys, name_of_bind(desk.bind))
    metrics = Metrics(tally, Gauges(load.numbers, load.late, broker.set_aside, rejections), porter.lets_in)
    resources = (FireWebhook(tally, broker), Health(), Readiness(verifier, broker), load, metrics)
    for resource in resources:
        front.add_route(resource.path, resource)
    if desk is None:
        return front

    def open_office() -> Wsgi:
        from hermes_cron.office import make_office  # noqa: PLC0415 - a wake for one fire must not pay for it.

        return make_office(_once(lambda: desk.client(kept())), load.numbers, desk.keys, desk.bind)

    return WebApp(front, [resource.path for resource in resources], _once(open_office))


def _once(make: Callable[[], T]) -> Callable[[], T]:
    """The same, made at the first call; a call that fails has made nothing."""
    lock = threading.Lock()
    made: list[T] = []

    def kept() -> T:
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
