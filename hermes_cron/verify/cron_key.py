"""The escape hatch `cron.verifier: cron-key`: fires signed with a key of their job's own, without a NAS that signs.

A bearer token here carries what the Standard Webhooks scheme puts into three headers, so that webhook and seam stay
as they are: `v1.<id>.<timestamp>.<signature>`. The signature is HMAC-SHA256 over `<id>.<timestamp>.<body>`, the
body's exact bytes. Each job's key is derived from one secret: a caller that holds one can fire that job and no other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hermes_cron import contract
from hermes_cron.clock import Clock, instant_text, utc_now
from hermes_cron.errors import ConfigError, TokenRejected
from hermes_cron.fire import Fire
from hermes_cron.privacy import MIN_SECRET_BYTES, fault, read_lines
from hermes_cron.verify.objects import read_fire
from hermes_cron.verify.reasons import Reason

TOLERANCE_S = 5 * 60
"""Seconds that a token's timestamp may lie from now, to either side."""

_TOKEN = re.compile(r"v1\.([A-Za-z0-9_-]{1,64})\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})")
_PREFIX = "whsec_"


def job_key(secret: bytes, job_id: str) -> bytes:
    """The key that fires of this job are signed with."""
    return hmac.digest(secret, b"hermes-cron cron-key v1\0" + job_id.encode(), "sha256")


def sign_cron_key(key: bytes, body: bytes, *, message_id: str | None = None, clock: Clock = utc_now) -> str:
    """A token for these exact body bytes, signed now with the key of the job they name."""
    name = message_id or secrets.token_urlsafe(18)
    stamp = str(int(clock().timestamp()))
    token = f"v1.{name}.{stamp}.{_signature(key, name, stamp, body)}"
    if _TOKEN.fullmatch(token) is None:
        raise ValueError("message_id must be 1 to 64 letters, digits, - and _")
    return token


def read_secrets(file: str) -> tuple[bytes, ...]:
    """The secrets in `cron.key_file`, one a line, the newest first; `whsec_` and base64, or plain text.

    Raises:
        ConfigError: There is no such file, or a secret in it is missing or too short.
    """
    field = "cron.key_file"
    try:
        path = Path(file).expanduser()
        unsafe = fault(path)
        found = () if unsafe else tuple(_secret(line) for line in read_lines(path))
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{field} cannot be read: {type(error).__name__}.", field=field,
            hint="Give a file with one secret a line, readable by this program alone.",
        ) from error  # fmt: skip
    if unsafe:
        raise ConfigError(f"{field} is not believed: {unsafe}.", field=field)
    if not found or min(map(len, found)) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"{field} must hold a secret of {MIN_SECRET_BYTES} bytes or more.", field=field,
            hint="Make one with: openssl rand -hex 32",
        )  # fmt: skip
    return found


def cron_key_verifier(file: str, *, clock: Clock = utc_now) -> CronKeyVerifier:
    """The verifier with the secrets in this file, which is `cron.key_file`.

    Raises:
        ConfigError: No file is set, or it gives no good secret.
    """
    if not file.strip():
        raise ConfigError(
            "cron.key_file is not set; without it every fire would be refused.", field="cron.key_file",
            hint="Give a file with the secret that per-job keys are derived from.",
        )  # fmt: skip
    return CronKeyVerifier(read_secrets(file), clock=clock)


class CronKeyVerifier:
    """A `FireVerifier` of tokens that `sign_cron_key` made with a key derived from one of these secrets."""

    def __init__(self, secrets: Sequence[bytes], *, clock: Clock = utc_now) -> None:
        self._secrets = tuple(secrets)
        self._clock = clock

    def ready(self) -> bool:
        """Always: its secrets are in memory."""
        return True

    def __call__(self, token: str, body: bytes) -> dict[str, Any]:
        """The claims of a good token: those a fire token of NAS would carry, all bound to the body.

        Raises:
            TokenRejected: It is not good; the reason is for the log only.
        """
        if not isinstance(token, str) or len(token) > contract.MAX_TOKEN_BYTES:
            raise TokenRejected(Reason.FORM)
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            raise TokenRejected(Reason.FORM)
        name, stamp, signature = parts.groups()
        fire = read_fire(body)
        # All of them, whichever fits: how long it takes tells nothing.
        fits = [self._fits(secret, fire, name, stamp, body, signature) for secret in self._secrets]
        if not any(fits):
            raise TokenRejected(Reason.SIGNATURE)
        age = self._clock().timestamp() - int(stamp)
        if age > TOLERANCE_S:
            raise TokenRejected(Reason.EXPIRED)
        if age < -TOLERANCE_S:
            raise TokenRejected(Reason.NOT_YET)
        return _claims(fire, name, int(stamp), body)

    def _fits(self, secret: bytes, fire: Fire, name: str, stamp: str, body: bytes, signature: str) -> bool:
        return hmac.compare_digest(_signature(job_key(secret, fire.job_id), name, stamp, body), signature)


def _claims(fire: Fire, name: str, stamp: int, body: bytes) -> dict[str, Any]:
    claims: dict[str, Any] = {"purpose": contract.PURPOSE, "iat": stamp, "jti": name, "job_id": fire.job_id}
    if fire.fire_at is not None:
        claims["fire_at"] = instant_text(fire.fire_at)
    return claims | {"body_sha256": hashlib.sha256(body).hexdigest()}


def _signature(key: bytes, name: str, stamp: str, body: bytes) -> str:
    digest = hmac.digest(key, f"{name}.{stamp}.".encode() + body, "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _secret(line: str) -> bytes:
    if line.startswith(_PREFIX):
        return base64.b64decode(line.removeprefix(_PREFIX), validate=True)
    return line.encode()
