"""A fire as a message: JSON with its version first, and what it must look like to be believed.

    {"v": 1, "job_id": "...", "fire_at": "..." | null, "kind": "fire", "received_at": "..." | null, "trace": {}}

Whoever can write to the queue can write anything there: a message is read as plain values only, whatever its tags
ask for, and a message that is not exactly one is refused as a whole. Fields that are not known are ignored.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from hermes_cron import contract
from hermes_cron.clock import instant_text, read_instant
from hermes_cron.errors import MessageRejected
from hermes_cron.fire import KINDS, Fire

VERSION = 1
MAX_BYTES = 16 * 1024
CONTENT_TYPE = "application/json"

rejections: Counter[str] = Counter()
"""How many messages this process has rejected, by what was wrong with them: `unsigned`, `signature`, `age`, a field."""

_TRACE_LIMIT = 16
_TRACE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TRACE_VALUE = re.compile(r"[\x20-\x7e]{0,512}")


def encode(fire: Fire) -> bytes:
    """The message of a fire. What a reader would refuse in its trace is left out."""
    message = {
        "v": VERSION,
        "job_id": fire.job_id,
        "fire_at": None if fire.fire_at is None else instant_text(fire.fire_at),
        "kind": fire.kind,
        "received_at": None if fire.received_at is None else instant_text(fire.received_at),
        "trace": dict([item for item in fire.trace.items() if _is_trace(*item)][:_TRACE_LIMIT]),
    }
    return json.dumps(message, separators=(",", ":")).encode()


def decode(body: bytes) -> Fire:
    """The fire of a message.

    Raises:
        MessageRejected: It is too long, not JSON, of another version, or not of the shape of that version.
    """
    if len(body) > MAX_BYTES:
        raise MessageRejected(f"the message has {len(body)} bytes; {MAX_BYTES} is the most")
    message = _parsed(body)
    if not isinstance(message, dict):
        raise MessageRejected("the message is not a JSON object")
    version = message.get("v")
    if type(version) is not int or version != VERSION:
        raise MessageRejected(f"the message is not of version {VERSION}")
    job_id, kind = message.get("job_id"), message.get("kind")
    if not contract.is_job_id(job_id):
        raise MessageRejected("the message names no valid job_id", field="job_id")
    if not isinstance(kind, str) or kind not in KINDS:
        raise MessageRejected("the message is of no known kind", field="kind")
    return Fire(job_id, _instant(message, "fire_at"), kind, _instant(message, "received_at"), _trace(message))


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MessageRejected(f"the message is not JSON ({type(error).__name__})") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _instant(message: Mapping[str, Any], field: str) -> datetime | None:
    value = message.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > 64:
        raise MessageRejected(f"the message's {field} is not an instant", field=field)
    try:
        return read_instant(value)
    except ValueError as error:
        raise MessageRejected(f"the message's {field} is not an instant", field=field) from error


def _trace(message: Mapping[str, Any]) -> dict[str, str]:
    trace = message.get("trace", {})
    if not isinstance(trace, dict) or len(trace) > _TRACE_LIMIT:
        raise MessageRejected("the message's trace is not a small object", field="trace")
    if not all(_is_trace(name, value) for name, value in trace.items()):
        raise MessageRejected("the message's trace holds more than short texts", field="trace")
    return trace


def _is_trace(name: object, value: object) -> bool:
    texts = isinstance(name, str) and isinstance(value, str)
    return texts and bool(_TRACE_NAME.fullmatch(str(name)) and _TRACE_VALUE.fullmatch(str(value)))
