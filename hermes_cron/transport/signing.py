"""Signed messages, for who shares the queue's server with strangers: HMAC-SHA256 over the exact bytes of a message.

The signature travels beside the message, as the header `hermes-cron-signature: v1.<key id>.<signature>`, so that the
message stays what it is. It also covers the queue's name. Without a key nothing is signed, and nothing is asked for: a
message can at worst wake a worker for a fire that is due anyway.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from hermes_cron.clock import Clock, utc_now
from hermes_cron.errors import ConfigError, MessageRejected
from hermes_cron.fire import Fire
from hermes_cron.privacy import MIN_SECRET_BYTES, read_lines

HEADER = "hermes-cron-signature"
OLDEST = timedelta(hours=24)
"""A message that was signed longer ago is refused: whoever can read the queue could put it back."""

EARLIEST = timedelta(minutes=5)
"""How far the clock of who signed may be ahead of ours."""

_FIELD = "broker.signing_key_file"


class Signer:
    """Signs messages of one queue with the first of these secrets, and believes all of them."""

    def __init__(self, secrets: Sequence[bytes], queue: str, *, clock: Clock = utc_now) -> None:
        self._keys = {_id_of(secret): hmac.digest(secret, b"hermes-cron message v1", "sha256") for secret in secrets}
        self._first = next(iter(self._keys))
        self._head = queue.encode() + b"\0"
        self._clock = clock

    def sign(self, body: bytes) -> str:
        """What goes into the header beside a message of these bytes."""
        return f"v1.{self._first}.{self._digest(self._first, body)}"

    def check(self, body: bytes, header: str | None) -> None:
        """See that one of our secrets signed just these bytes for this queue.

        Raises:
            MessageRejected: The message is not signed, or not so.
        """
        if header is None:
            raise MessageRejected("the message is not signed", field="unsigned")
        version, _, rest = header.partition(".")
        key_id, _, found = rest.partition(".")
        if version != "v1" or key_id not in self._keys:
            raise MessageRejected("the message is not signed with a key of ours", field="signature")
        if not hmac.compare_digest(found.encode("utf-8", "replace"), self._digest(key_id, body).encode()):
            raise MessageRejected("the message's signature does not fit it", field="signature")

    def check_age(self, fire: Fire) -> None:
        """See that what was signed is not an old message that somebody put back.

        Raises:
            MessageRejected: It does not say when it was signed, or that is too long ago, or to come.
        """
        if fire.received_at is None:
            raise MessageRejected("the message does not say when it was signed", field="age")
        if not -EARLIEST <= self._clock() - fire.received_at <= OLDEST:
            raise MessageRejected("the message was not signed within the last 24 h", field="age")

    def _digest(self, key_id: str, body: bytes) -> str:
        return hmac.new(self._keys[key_id], self._head + body, "sha256").hexdigest()


def read_signer(file: str, queue: str, *, clock: Clock = utc_now) -> Signer | None:
    """The signer with the secrets in `broker.signing_key_file`, one a line, the newest first; None without a file.

    Raises:
        ConfigError: There is no such file, others may write to it, or a secret in it is missing or too short.
    """
    if not file:
        return None
    try:
        secrets = [line.encode() for line in read_lines(Path(file).expanduser())]
    except (OSError, ValueError) as error:
        words = str(error) if isinstance(error, ValueError) else f"{file}: {error.strerror}"
        raise ConfigError(f"{_FIELD} cannot be used: {words}.", field=_FIELD) from error
    if not secrets or min(map(len, secrets)) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"{_FIELD} must hold a secret of {MIN_SECRET_BYTES} bytes or more.", field=_FIELD,
            hint="Make one with: openssl rand -hex 32",
        )  # fmt: skip
    return Signer(secrets, queue, clock=clock)


def _id_of(secret: bytes) -> str:
    return hashlib.sha256(b"hermes-cron key id\0" + secret).hexdigest()[:12]
