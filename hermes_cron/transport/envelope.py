"""What kombu puts round a message on transports that have no headers of their own, read with care."""

from __future__ import annotations

import base64
import uuid
from typing import Any

from kombu.transport import virtual
from kombu.utils import json as envelopes

MAX_BYTES = 64 * 1024
"""An envelope longer than this holds no message of ours; its first part is kept."""


class Envelope(virtual.Message):
    """A message in its envelope. It is never unpacked: a small body must not become a large one."""

    def __init__(self, payload: dict[str, Any], channel: Any = None, **options: Any) -> None:
        headers = payload.get("headers") or {}
        plain = {name: value for name, value in headers.items() if name != "compression"}
        super().__init__({**payload, "headers": plain}, channel=channel, **options)  # type: ignore[no-untyped-call]  # kombu is annotated in part.


def sound(item: bytes, queue: str, channel: Any) -> bytes:
    """The item of a list itself if kombu can read it, else a new envelope round it.

    Without that, kombu would lose what it cannot read, and raise where nobody can tell it from a lost connection.
    """
    return item if _is_envelope(item, channel) else _wrapped(item, queue)


def _is_envelope(item: bytes, channel: Any) -> bool:
    if len(item) > MAX_BYTES:
        return False
    try:
        message = Envelope(envelopes.loads(item.decode("utf-8")), channel=channel)
        where = message.delivery_info
        return all(isinstance(text, str) for text in (message.delivery_tag, where["exchange"], where["routing_key"]))
    except Exception:  # noqa: BLE001 - Whatever reading it raises, it is none.
        return False


def _wrapped(item: bytes, queue: str) -> bytes:
    envelope = {
        "body": base64.b64encode(item[:MAX_BYTES]).decode(),
        "content-type": "application/octet-stream",
        "content-encoding": "binary",
        "headers": {},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": queue},
        },
    }
    return str(envelopes.dumps(envelope)).encode()
