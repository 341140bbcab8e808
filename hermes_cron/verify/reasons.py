"""Why a fire token was refused: stable codes for the log and the metrics, never for the answer."""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class Reason(StrEnum):
    """Why a fire token was refused. A caller who could read these would learn which check to attack next."""

    NOT_CONFIGURED = "not_configured"
    FORM = "form"
    HEADER = "header"
    ALGORITHM = "algorithm"
    CRITICAL = "critical"
    UNKNOWN_KEY = "unknown_key"
    WRONG_KEY = "wrong_key"
    AMBIGUOUS_KEY = "ambiguous_key"
    SIGNATURE = "signature"
    CLAIMS = "claims"
    NO_EXPIRY = "no_expiry"
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    LIFE = "life"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    PURPOSE = "purpose"
    JOB = "job"
    INSTANT = "instant"
    BODY = "body"
    UNBOUND = "unbound"
