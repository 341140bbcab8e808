"""What every endpoint of NAS has: the parts behind it, the agent that calls, an answer in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import falcon

from hermes_cron.clock import Clock
from hermes_cron.nas.agents import Agent, Agents
from hermes_cron.nas.asking import Refusal
from hermes_cron.nas.book import Book
from hermes_cron.nas.callback import Callbacks
from hermes_cron.nas.keys import KeyRing
from hermes_cron.nas.limits import Limits
from hermes_cron.nas.signature import Signatures
from hermes_cron.nas.timer import Timer


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


class Endpoint:
    """An endpoint of NAS."""

    path: str

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def agent(self, req: falcon.Request) -> Agent:
        """The agent that calls, if it may call now."""
        scheme, _, token = str(req.env.get("HTTP_AUTHORIZATION", "")).partition(" ")
        agent = self.parts.agents.by_token(token.strip(" ")) if scheme.lower() == "bearer" else None
        if agent is None:
            raise Refusal(401, "invalid_token", "no agent has this token")
        if agent.revoked_at is not None:
            raise Refusal(403, "invalid_client", "this agent was revoked")
        wait = self.parts.limits.wait(agent.id)
        if wait:
            raise Refusal(429, "too_many_calls", "this agent calls too often", retry_after=wait)
        return agent


def answer(resp: falcon.Response, status: int, body: Mapping[str, Any]) -> None:
    """Answer this, as JSON."""
    resp.status = status
    resp.content_type = falcon.MEDIA_JSON
    resp.data = json.dumps(body).encode()
