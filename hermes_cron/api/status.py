"""`/healthz`, `/readyz`, `/api/cron/load`: is the process alive, can it take fires, is it safe to sleep?"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import falcon

from hermes_cron.errors import StoreError
from hermes_cron.interfaces import Broker, FireVerifier, Store

WITHIN_S = 60.0
"""What is due within so many seconds counts as load."""

_MOST_WANTED = 100
_CODE = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_log = logging.getLogger("hermes_cron.api")


class Health:
    """`GET /healthz`: the process answers."""

    path = "/healthz"

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Always 200."""
        _answer(resp, falcon.HTTP_200, {"status": "ok"})


class Readiness:
    """`GET /readyz`: a good fire could be taken now."""

    path = "/readyz"

    def __init__(self, verifier: FireVerifier, broker: Broker) -> None:
        self._verifier = verifier
        self._broker = broker

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200 when the broker answers and the keys are there, else 503; the body tells which is not."""
        parts = {"broker": self._broker.depth() is not None, "keys": self._verifier.ready()}
        ready = all(parts.values())
        if not ready:
            resp.set_header("Retry-After", "5")
        words = {name: "ok" if good else "unavailable" for name, good in parts.items()}
        _answer(resp, falcon.HTTP_200 if ready else falcon.HTTP_503, {"ready": ready, **words})


class LoadReport:
    """`GET /api/cron/load`: the work there is now or soon. `load` zero means that it is safe to sleep.

    What cannot be read counts as one, and stands as null. `refused` tells why NAS refuses alarms for good: that work
    stays until somebody sees to it (I11). The store is opened at the first question: a webhook that is never asked
    needs none.
    """

    path = "/api/cron/load"

    def __init__(self, broker: Broker, store: Callable[[], Store]) -> None:
        self._broker = broker
        self._store = store

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200 with the numbers, whatever they are."""
        numbers = self.numbers()
        refused = self._refused() if numbers.get("wanted_arms") else []
        _answer(resp, falcon.HTTP_200, {**numbers, "refused": refused})

    def numbers(self) -> dict[str, int | None]:
        """The load and what it is made of."""
        queued = self._broker.depth()
        try:
            known: dict[str, int | None] = asdict(self._store().load(WITHIN_S))
        except Exception as error:  # noqa: BLE001 - whatever the reason: who asks must not let us sleep.
            _log.warning("the load cannot be read: %s: %s", type(error).__name__, error)
            known = {"store": None}
        parts: dict[str, int | None] = {"queued": queued, **known}
        return {"load": sum(1 if number is None else number for number in parts.values()), **parts}

    def late(self) -> float | None:
        """How many seconds the earliest wake of any job has been due and unclaimed; None when that cannot be read."""
        try:
            store = self._store()
            wake = store.next_wake()
            return 0.0 if wake is None else max(0.0, (store.now() - wake).total_seconds())
        except Exception as error:  # noqa: BLE001 - whatever the reason: it is not known.
            _log.warning("what is late cannot be read: %s: %s", type(error).__name__, error)
            return None

    def _refused(self) -> list[str]:
        store = self._store()
        try:
            records = [store.read(job_id) for job_id in store.wanted(_MOST_WANTED)]
        except StoreError:
            return []
        reasons = {record.arm.refused for record in records if record is not None and record.arm.refused}
        # Whoever asks may be anybody, and the words are another server's: a plain code, or that there is one.
        return sorted({reason if _CODE.fullmatch(reason) else "refused" for reason in reasons})


def _answer(resp: falcon.Response, status: str, body: dict[str, Any]) -> None:
    resp.status = status
    resp.content_type = falcon.MEDIA_JSON
    resp.set_header("Cache-Control", "no-store")
    resp.data = json.dumps(body).encode()
