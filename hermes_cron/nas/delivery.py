"""One attempt at a delivery: mint a token that is bound to the body, post it to the agent, say what became of it."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import datetime
from typing import Any

from hermes_cron import contract
from hermes_cron.clock import Clock, instant_text
from hermes_cron.errors import ConfigError, OutboundError
from hermes_cron.nas.book import Due
from hermes_cron.nas.held import Result
from hermes_cron.nas.keys import KeyRing
from hermes_cron.outbound import Answer, Outbound

TOKEN_LIFE_S = 120
DEADLINE_S = 30.0
"""Seconds one attempt may take in all: a machine that is woken by it must have the time to start."""

MAX_ANSWER_BYTES = 4096


class Delivery:
    """Delivers fires as the NAS at `issuer`; may be called from any thread."""

    def __init__(self, issuer: str, keys: KeyRing, outbound: Outbound, clock: Clock) -> None:
        self._issuer = issuer
        self._keys = keys
        self._outbound = outbound
        self._clock = clock

    def __call__(self, due: Due) -> Result:
        """Make one attempt; every way in which it can fail is a result."""
        body = body_of(due)
        try:
            headers = {"Authorization": f"Bearer {self._mint(due, body)}", "Content-Type": "application/json"}
            answer = self._outbound.request(
                "POST", due.held.callback_url + contract.FIRE_PATH, headers=headers, body=body, deadline=DEADLINE_S,
                max_bytes=MAX_ANSWER_BYTES,
            )  # fmt: skip
        except (OutboundError, ConfigError) as error:
            return Result(None, error.message)
        return result_of(answer, self._clock())

    def _mint(self, due: Due, body: bytes) -> str:
        names = (due.held.job_id, due.held.fire_at)
        return self._keys.sign(claims_of(self._issuer, due.agent.audience, names, body, self._clock()))


def body_of(due: Due) -> bytes:
    """The body of `POST /api/cron/fire`."""
    return fire_body(due.held.job_id, due.held.fire_at)


def fire_body(job_id: str, fire_at: datetime) -> bytes:
    """What tells an agent which job is to fire, and for which instant."""
    return json.dumps({"job_id": job_id, "fire_at": instant_text(fire_at)}).encode()


def claims_of(issuer: str, audience: str, names: tuple[str, datetime], body: bytes, now: datetime) -> dict[str, Any]:
    """The claims of a token for one attempt, bound to the job, the instant and the exact bytes of the body."""
    at = int(now.timestamp())
    return {
        "iss": issuer, "aud": audience, "purpose": contract.PURPOSE, "iat": at, "exp": at + TOKEN_LIFE_S,
        "jti": secrets.token_urlsafe(16), "job_id": names[0], "fire_at": instant_text(names[1]),
        "body_sha256": hashlib.sha256(body).hexdigest(),
    }  # fmt: skip


def result_of(answer: Answer, now: datetime) -> Result:
    """What an agent's answer means."""
    if answer.ok:
        return Result(answer.status)
    return Result(answer.status, f"the agent answered {answer.status}", answer.retry_after(now))
