"""What agents call: provision, cancel, list, batch, capabilities (contract, section 1)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import falcon

from hermes_cron import contract
from hermes_cron.clock import instant_text
from hermes_cron.nas.agents import Agent
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
from hermes_cron.nas.endpoint import Endpoint, answer
from hermes_cron.nas.held import Ask, Held, State
from hermes_cron.nas.limits import ITEMS_PER_CALL

WHOLE = 10_000
PAGE = 500
HORIZON_S = 100 * 365 * 86_400
"""Far beyond any job; an instant beyond even that is held all the same."""

PRECISION_S = 0.05
QUOTA_RETRY_S = 60

T = TypeVar("T")


class Provision(Endpoint):
    """`POST /api/agent-cron/provision`: hold a fire of a job; one arm per job."""

    path = contract.PROVISION_PATH

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 with the `schedule_id` once the arm is on the disk."""
        agent = self.agent(req)
        ask = read_ask(read_object(read_body(req)), self.parts.callbacks.of(agent.id))
        held = self.parts.book.provision(agent.id, [ask])[0]
        if held is None:
            raise _over_quota()
        self.parts.timer.ring()
        answer(resp, 200, {"schedule_id": held.schedule_id})


class Cancel(Endpoint):
    """`POST /api/agent-cron/cancel`: hold nothing more for a job."""

    path = contract.CANCEL_PATH

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200, also for an unknown job."""
        agent = self.agent(req)
        self.parts.book.cancel(agent.id, [read_job_id(read_object(read_body(req)))])
        answer(resp, 200, {"ok": True})


class Listing(Endpoint):
    """`GET /api/agent-cron/list`: what is armed for this agent, and what was given up."""

    path = contract.LIST_PATH

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Everything, if it is not very much; with `?cursor=` (empty to begin) a page; `next` while there is more.

        An agent that knows no pages and has more than that misses some here, and arms them once more for nothing.
        """
        agent = self.agent(req)
        cursor = req.get_param("cursor")
        most = WHOLE if cursor is None else PAGE
        rows = self.parts.book.listed(agent.id, beyond=_read_cursor(cursor or ""), limit=most + 1)
        more = _cursor(rows[most - 1]) if len(rows) > most else None
        answer(resp, 200, {**self._page(rows[:most]), "next": more})

    def _page(self, rows: Sequence[Held]) -> dict[str, Any]:
        delivering = self.parts.book.delivering
        armed = [held for held in rows if held.state is State.ARMED and not delivering(held)]
        dead = [held for held in rows if held.state is State.DEAD]
        return {"armed": [_shown(held) for held in armed], "dead": [{**_shown(h), "reason": h.reason} for h in dead]}


class Batch(Endpoint):
    """`POST /api/agent-cron/batch`: up to 500 provisions and cancels in one call, each with its own result."""

    path = contract.BATCH_PATH

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 with one result per item, in order. Cancels come first: a job in both lists stays armed."""
        agent = self.agent(req)
        found = read_object(read_body(req, MAX_BATCH_BYTES))
        provisions, cancels = read_items(found, "provision"), read_items(found, "cancel")
        if len(provisions) + len(cancels) > contract.BATCH_LIMIT:
            raise invalid(f"a batch holds at most {contract.BATCH_LIMIT} items")
        self.parts.limits.charge(agent.id, (len(provisions) + len(cancels)) / ITEMS_PER_CALL)
        results = {"cancel": self._cancel(agent, cancels), "provision": self._provision(agent, provisions)}
        self.parts.timer.ring()
        answer(resp, 200, results)

    def _cancel(self, agent: Agent, items: list[Any]) -> list[dict[str, Any]]:
        read = [_tried(item, read_job_id) for item in items]
        self.parts.book.cancel(agent.id, [job_id for job_id in read if isinstance(job_id, str)])
        return [
            {**_named(item), **({"status": 200, "ok": True} if isinstance(got, str) else _result(got))}
            for item, got in zip(items, read, strict=True)
        ]

    def _provision(self, agent: Agent, items: list[Any]) -> list[dict[str, Any]]:
        callbacks = self.parts.callbacks.of(agent.id)
        read = [_tried(item, lambda item: read_ask(item, callbacks)) for item in items]
        held = iter(self.parts.book.provision(agent.id, [ask for ask in read if isinstance(ask, Ask)]))
        results = [_armed(next(held)) if isinstance(got, Ask) else _result(got) for got in read]
        return [{**_named(item), **result} for item, result in zip(items, results, strict=True)]


class Capabilities(Endpoint):
    """`GET /api/agent-cron/capabilities`: what this NAS can do beyond the base contract."""

    path = contract.CAPABILITIES_PATH

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200."""
        self.agent(req)
        able = {
            "settle": self.parts.settle, "batch": contract.BATCH_LIMIT, "bound_tokens": True,
            "precision_s": PRECISION_S, "max_horizon_s": HORIZON_S, "now": instant_text(self.parts.clock()),
        }  # fmt: skip
        answer(resp, 200, able)


def _tried(item: object, read: Callable[[object], T]) -> T | Refusal:
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
