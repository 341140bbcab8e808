"""Is this call really from our outside scheduler? The Standard Webhooks scheme, symmetric (`v1`)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import threading
from collections.abc import Mapping

from hermes_cron.clock import Clock
from hermes_cron.errors import ConfigError
from hermes_cron.settings import Secret

WINDOW_S = 300
"""How far a call's timestamp may be from now."""

_PREFIX = "whsec_"
_LEAST_SECRET_BYTES = 24
_MOST_KEPT = 100_000


def read_secret(text: Secret) -> bytes:
    """The bytes of a secret as the scheme writes it: base64, with or without `whsec_` before it.

    Raises:
        ConfigError: It is not that, or too short to be one.
    """
    try:
        found = base64.b64decode(text.reveal().strip().removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) < _LEAST_SECRET_BYTES:
        hint = "Make one: openssl rand -base64 32"
        raise ConfigError(f"The relay secret must be base64 of {_LEAST_SECRET_BYTES} bytes or more.", hint=hint)
    return found


class Signatures:
    """Verifies signed calls; without a secret none is good. May be used from any thread."""

    def __init__(self, secret: bytes | None, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}

    def good(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the call was signed with our secret, within the window; header names in lower case."""
        call_id = headers.get("webhook-id", "")
        stamp = headers.get("webhook-timestamp", "")
        if not self._secret or not call_id or not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
            return False
        if abs(self._clock().timestamp() - int(stamp)) > WINDOW_S:
            return False
        signed = f"{call_id}.{stamp}.".encode("utf-8", "backslashreplace") + body
        mine = base64.b64encode(hmac.digest(self._secret, signed, hashlib.sha256))
        offered = [part.partition(",") for part in headers.get("webhook-signature", "").split(" ")]
        found = [
            hmac.compare_digest(mine, text.encode("utf-8", "replace"))
            for version, _, text in offered
            if version == "v1"
        ]
        return any(found)

    def repeated(self, call_id: str) -> bool:
        """Whether a call with this id was remembered within the window."""
        with self._lock:
            return self._seen.get(call_id, 0.0) > self._clock().timestamp()

    def remember(self, call_id: str) -> None:
        """A good call with this id was obeyed."""
        now = self._clock().timestamp()
        with self._lock:
            self._seen.pop(call_id, None)
            # They stand in the order in which they came, and so in that in which they lapse.
            while self._seen and (len(self._seen) >= _MOST_KEPT or self._seen[next(iter(self._seen))] <= now):
                del self._seen[next(iter(self._seen))]
            self._seen[call_id] = now + 2 * WINDOW_S
