"""The calls to NAS, each within its deadline (contract, section 1)."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from hermes_cron import contract
from hermes_cron.arm import Order
from hermes_cron.clock import instant_text, monotonic
from hermes_cron.errors import NasError, OutboundError
from hermes_cron.outbound import Answer, Outbound
from hermes_cron.providers.chronos import answers
from hermes_cron.providers.chronos.answers import Capabilities, NasLacks
from hermes_cron.providers.chronos.standing import Standing
from hermes_cron.providers.chronos.token import TokenSource

CONCURRENCY = 8
_MAX_LIST_BYTES = 16 * 1024 * 1024
_MAX_PAGES = 10_000
_ASK_AGAIN_S = 10.0


class NasClient:
    """NAS, as one agent may use it. Every call carries the token of that moment; none outlasts its deadline.

    Calls raise `NasRefused` for what trying again cannot help and `NasError` for the rest; `sent` then tells whether
    the call may still have its effect. May be used from any thread.
    """

    def __init__(self, portal_url: str, callback_url: str, token: TokenSource, standing: Standing) -> None:
        self._portal_url = portal_url.rstrip("/")
        self._callback_url = callback_url.rstrip("/")
        self._token = token
        self.standing = standing
        self._lock = threading.Lock()
        self._outbound: Outbound | None = None
        self._capabilities: Capabilities | None = None
        self._ask_at = 0.0
        self._lacks_batch = False

    def close(self) -> None:
        """Give back every connection; a later call opens new ones."""
        with self._lock:
            outbound, self._outbound = self._outbound, None
        if outbound is not None:
            outbound.close()

    @property
    def batch_limit(self) -> int:
        """How many calls NAS takes in one; 0 when it lacks that."""
        return 0 if self._lacks_batch else self.known.batch

    @property
    def known(self) -> Capabilities:
        """What NAS has said so far that it can do; asks nothing."""
        return self._capabilities or Capabilities()

    def do(self, order: Order, seconds: float = contract.CALL_DEADLINE_S) -> None:
        """Have NAS hold the alarm of this order, or none."""
        if order.at is None:
            self._call("POST", contract.CANCEL_PATH, {"job_id": order.job_id}, seconds)
        else:
            self._call("POST", contract.PROVISION_PATH, self._provision(order.job_id, order.at), seconds)

    def do_all(self, orders: Sequence[Order], seconds: float = contract.CALL_DEADLINE_S) -> dict[str, NasError | None]:
        """Have NAS do several orders in one call; the answer tells of each, by job id, what became of it.

        Raises:
            NasLacks: It takes no batches, as is then remembered; or its answer is silent about some of these.
        """
        body = {
            "provision": [self._provision(order.job_id, order.at) for order in orders if order.at is not None],
            "cancel": [{"job_id": order.job_id} for order in orders if order.at is None],
        }
        try:
            answer = self._call("POST", contract.BATCH_PATH, body, seconds, _MAX_LIST_BYTES)
        except NasLacks:
            self._lacks_batch = True
            raise
        found = answers.items_in(answer, {order.job_id for order in orders})
        if not found:
            self._lacks_batch = True
            raise NasLacks("NAS answered a batch with something that cannot be read.")
        return found

    def armed(self, until: float) -> Mapping[str, datetime | None]:
        """All that NAS holds of this agent, before the monotonic instant `until`; None is an instant we cannot read."""
        found: dict[str, datetime | None] = {}
        path = contract.LIST_PATH
        for _ in range(_MAX_PAGES):
            seconds = min(contract.CALL_DEADLINE_S, until - monotonic())
            page, cursor = answers.page_in(self._call("GET", path, None, seconds, _MAX_LIST_BYTES))
            found.update(page)
            if cursor is None:
                return found
            path = f"{contract.LIST_PATH}?cursor={quote(cursor, safe='')}"
        raise NasError("NAS's list does not end.")

    def capabilities(self, seconds: float) -> Capabilities:
        """What NAS can do; asked once, and as by default while it does not say."""
        with self._lock:
            if self._capabilities is not None or monotonic() < self._ask_at:
                return self._capabilities or Capabilities()
            self._ask_at = monotonic() + _ASK_AGAIN_S
        try:
            said = answers.capabilities_in(self._call("GET", contract.CAPABILITIES_PATH, None, seconds))
        except NasLacks:
            said = Capabilities()
        except NasError:
            return Capabilities()
        self._capabilities = said
        return said

    def renew_token(self, seconds: float) -> None:
        """Look whether there is another token by now; NAS refuses the one we have."""
        try:
            self._token.again(seconds)
        except NasError:
            return

    def prepare(self, seconds: float) -> None:
        """Have the token at hand, so that the next call has its time for itself; what fails here, fails there again."""
        if self.standing.objection() is None:
            try:
                self._token.read(seconds)
            except NasError:
                return

    def _provision(self, job_id: str, at: datetime) -> dict[str, str]:
        fire_at = instant_text(at)
        return {
            "job_id": job_id,
            "fire_at": fire_at,
            "agent_callback_url": self._callback_url,
            "dedup_key": contract.dedup_key(job_id, fire_at),
        }

    def _call(self, method: str, path: str, body: Any, seconds: float, max_bytes: int = 256 * 1024) -> Answer:
        objection = self.standing.objection()
        if objection is not None:
            raise objection
        # Loading what makes the calls takes a while at the first of them, which is not to be taken from its time.
        self._pool()
        until = monotonic() + min(seconds, contract.CALL_DEADLINE_S)
        token = self._token.read(until - monotonic())
        answer = self._send(method, path, token, body, until, max_bytes)
        if answer.status == 401:
            fresh = self._token.again(max(0.0, until - monotonic()))
            if fresh != token:
                answer = self._send(method, path, fresh, body, until, max_bytes)
        error = answers.error_in(answer, path.partition("?")[0])
        if error is None:
            return answer
        self.standing.note(error)
        raise error

    def _send(self, method: str, path: str, token: str, body: Any, until: float, max_bytes: int) -> Answer:
        pool = self._pool()
        left = until - monotonic()
        if left <= 0:
            raise NasError("There was no time left for a call to NAS.")
        headers = {"Authorization": f"Bearer {token}"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        try:
            return pool.request(
                method, self._portal_url + path, headers=headers, body=content, deadline=left, max_bytes=max_bytes
            )
        except OutboundError as error:
            raise NasError(f"NAS cannot be reached: {error}", sent=error.sent) from error

    def _pool(self) -> Outbound:
        with self._lock:
            if self._outbound is None:
                self._outbound = Outbound(connections=CONCURRENCY + 4)
                self._outbound.open()
            return self._outbound
