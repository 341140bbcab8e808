"""`Fire`: one job at one instant, from the arm to the claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hermes_cron import contract
from hermes_cron.clock import instant_text, read_instant
from hermes_cron.errors import FireInvalid

KINDS = ("fire", "sweep", "manual")


@dataclass(frozen=True, slots=True)
class Fire:
    """One job at one instant; `fire_at` is None where a message only says "look at this job".

    `kind` says why it was sent (`fire`, `sweep`, `manual`): it is for the log, never for the decision.
    """

    job_id: str
    fire_at: datetime | None = None
    kind: str = "fire"
    received_at: datetime | None = None
    trace: Mapping[str, str] = field(default_factory=dict)

    @property
    def dedup_key(self) -> str | None:
        """`job_id:fire_at`, its identity at NAS, in the queue and in the claim; None without an instant."""
        return None if self.fire_at is None else contract.dedup_key(self.job_id, instant_text(self.fire_at))

    @classmethod
    def from_body(cls, body: Any, received_at: datetime | None = None) -> Fire:
        """Read the parsed body of `POST /api/cron/fire` (contract, section 2); unknown fields are ignored.

        Raises:
            FireInvalid: Not an object, no valid `job_id`, or a `fire_at` that cannot be read or has no offset.
        """
        if not isinstance(body, dict):
            raise FireInvalid("the body is not a JSON object")
        job_id = body.get("job_id")
        if not contract.is_job_id(job_id):
            raise FireInvalid("job_id is missing or not a valid id", field="job_id")
        fire_at = body.get("fire_at")
        if fire_at is None:
            return cls(job_id, None, received_at=received_at)
        if not isinstance(fire_at, str) or len(fire_at) > 64:
            raise FireInvalid("fire_at is not an ISO 8601 instant", field="fire_at")
        try:
            return cls(job_id, read_instant(fire_at), received_at=received_at)
        except ValueError as error:
            raise FireInvalid(f"fire_at cannot be read: {error}", field="fire_at") from error
