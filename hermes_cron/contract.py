"""The words an agent shares with NAS: paths, claims, limits (docs/chronos-managed-cron-contract.md).

The agent and the reference NAS share this module and nothing else.
"""

from __future__ import annotations

import re
from typing import TypeGuard

PROVISION_PATH = "/api/agent-cron/provision"
CANCEL_PATH = "/api/agent-cron/cancel"
LIST_PATH = "/api/agent-cron/list"
BATCH_PATH = "/api/agent-cron/batch"
CAPABILITIES_PATH = "/api/agent-cron/capabilities"
RELAY_PATH = "/api/agent-cron/relay"
JWKS_PATH = "/.well-known/jwks.json"
FIRE_PATH = "/api/cron/fire"

PURPOSE = "cron_fire"
"""The `purpose` claim of a fire token: exactly this, so that no other token of NAS opens our door."""

ALGORITHMS = ("ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
"""What a fire token may be signed with: asymmetric families only (contract, section 2)."""

LEEWAY_S = 30
MAX_TOKEN_LIFE_S = 15 * 60
MAX_TOKEN_BYTES = 8 * 1024
MAX_FIRE_BODY_BYTES = 16 * 1024
EARLY_S = 60
"""A fire that names an instant at most this far ahead is held; one further ahead is refused."""

BATCH_LIMIT = 500
CALL_DEADLINE_S = 3.0
"""Seconds one call to NAS may take in all."""

SENTINEL_PREFIX = "_wake."
JOB_ID = re.compile(r"[A-Za-z0-9._:@-]{1,255}")
"""By full match; an id never starts with a dot, and a leading underscore is the agent's own."""


def is_job_id(value: object) -> TypeGuard[str]:
    """Whether this may stand as a `job_id` on the wire (the agent's own `_` ids included)."""
    return isinstance(value, str) and JOB_ID.fullmatch(value) is not None and not value.startswith(".")


def dedup_key(job_id: str, fire_at: str) -> str:
    """The identity of one arm at NAS: `job_id:fire_at`."""
    return f"{job_id}:{fire_at}"
