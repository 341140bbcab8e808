"""`POST /api/cron/fire`: verify, enqueue, 202 (contract, section 2).

I2: the webhook is handed a verifier and a broker, and can do nothing else. Whether the fire is due, known or a replay
is decided by the claim, elsewhere and later.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

import falcon

from hermes_cron.clock import Clock, utc_now
from hermes_cron.contract import FIRE_PATH, MAX_FIRE_BODY_BYTES
from hermes_cron.errors import BrokerError, FireInvalid, KeysUnavailable, TokenRejected
from hermes_cron.failpoints import failpoint
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Broker, FireVerifier

REFUSED = {"error": "invalid fire token"}
"""The one answer to every bad token: which of its faults it was stands in the log only."""

_log = logging.getLogger("hermes_cron.webhook")


class FireWebhook:
    """The fire endpoint. The token is judged before the body; both before anything is done."""

    path = FIRE_PATH

    def __init__(self, verifier: FireVerifier, broker: Broker, clock: Clock = utc_now) -> None:
        self._verifier = verifier
        self._broker = broker
        self._clock = clock

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 202 once the fire is on the queue; 400, 401, 413, 415 or 503 otherwise."""
        received_at = self._clock()
        try:
            body = self._let_in(req)
            _check_headers(req)
            fire = Fire.from_body(_parsed(body), received_at)
            failpoint("webhook.verified")
            self._broker.enqueue(fire)
            failpoint("webhook.enqueued")
        except TokenRejected as error:
            _log.warning("a fire token was refused: %s (token %s)", error.reason, _fingerprint(req))
            resp.set_header("WWW-Authenticate", "Bearer")
            _answer(resp, falcon.HTTP_401, REFUSED)
        except _Refused as error:
            _log.warning("a fire was refused: %s", error.words)
            _answer(resp, error.status, {"error": error.words})
        except FireInvalid as error:
            _log.warning("a fire was refused: %s", error.message)
            _answer(resp, falcon.HTTP_400, {"error": error.message})
        except (KeysUnavailable, BrokerError) as error:
            _log.error("a fire cannot be taken now: %s", error)
            resp.set_header("Retry-After", str(error.retry_after))
            _answer(resp, falcon.HTTP_503, {"error": error.code})
        else:
            _log.debug("the fire of %s at %s is on the queue", fire.job_id, fire.fire_at)
            accepted = {"status": "accepted", "job_id": fire.job_id, "dedup_key": fire.dedup_key}
            _answer(resp, falcon.HTTP_202, accepted)

    def _let_in(self, req: falcon.Request) -> bytes:
        """The exact bytes of the body of a request whose token is good."""
        token = _token(req)
        try:
            body = _body(req)
        except _Refused:
            # Who has no good token is told so, and nothing of what is wrong with the body.
            self._verifier(token, b"")
            raise
        self._verifier(token, body)
        return body


class _Refused(Exception):
    """The request is refused for its headers or its length: what its body says is not looked at."""

    def __init__(self, status: str, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


def _answer(resp: falcon.Response, status: str, body: dict[str, Any]) -> None:
    resp.status = status
    resp.content_type = falcon.MEDIA_JSON
    resp.data = json.dumps(body).encode()


def _token(req: falcon.Request) -> str:
    # A server joins repeated headers with a comma, which no token has: two headers never pass for one.
    scheme, _, token = str(req.env.get("HTTP_AUTHORIZATION", "")).partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenRejected("missing")
    return token.strip(" ")


def _check_headers(req: falcon.Request) -> None:
    kind = (req.content_type or falcon.MEDIA_JSON).partition(";")[0].strip().lower()
    if kind != falcon.MEDIA_JSON:
        raise _Refused(falcon.HTTP_415, "the body must be application/json")
    if req.get_header("Content-Encoding"):
        raise _Refused(falcon.HTTP_415, "the body must not be encoded")


def _body(req: falcon.Request) -> bytes:
    """The exact bytes of the body; whatever its length header says, no more than the limit is read."""
    try:
        length = req.content_length
        if length is not None and length > MAX_FIRE_BODY_BYTES:
            raise _Refused(falcon.HTTP_413, f"the body may take {MAX_FIRE_BODY_BYTES} bytes")
        # Falcon's bounded stream is empty for a chunked body, so the server's own stream is read.
        body = bytes(req.env["wsgi.input"].read(MAX_FIRE_BODY_BYTES + 1 if length is None else length))
    except (_Refused, MemoryError):
        raise
    except Exception as error:
        raise _Refused(falcon.HTTP_400, "the body cannot be read") from error
    if len(body) > MAX_FIRE_BODY_BYTES:
        raise _Refused(falcon.HTTP_413, f"the body may take {MAX_FIRE_BODY_BYTES} bytes")
    if length is not None and len(body) < length:
        raise _Refused(falcon.HTTP_400, "the body is shorter than its Content-Length")
    return body


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FireInvalid("the body is not JSON") from error


def _fingerprint(req: falcon.Request) -> str:
    header = str(req.env.get("HTTP_AUTHORIZATION", ""))
    return hashlib.sha256(header.encode("latin-1", "replace")).hexdigest()[:8] if header else "none"
