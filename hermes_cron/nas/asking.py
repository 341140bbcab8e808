"""What agents ask of NAS, read from the wire: whole and well-formed, or refused with a field and a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import falcon

from hermes_cron import contract
from hermes_cron.clock import read_instant
from hermes_cron.nas.callback import CallbacksOfCall
from hermes_cron.nas.held import Ask

MAX_BODY_BYTES = 16 * 1024
MAX_BATCH_BYTES = 2 * 1024 * 1024
_MOST_INSTANT_CHARACTERS = 64


class Refusal(Exception):
    """A request that is refused: an HTTP status, a stable code, what is wrong, the field it is wrong in."""

    def __init__(
        self, status: int, code: str, words: str = "", *, field: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(words or code)
        self.status = status
        self.code = code
        self.words = words
        self.field = field
        self.retry_after = retry_after

    def body(self) -> dict[str, str]:
        """What is answered, as JSON; empty parts are left out."""
        parts = {"error": self.code, "message": self.words, "field": self.field}
        return {name: text for name, text in parts.items() if text}


def invalid(words: str, field: str = "") -> Refusal:
    """The request itself is wrong: asking again cannot help."""
    return Refusal(400, "invalid_request", words, field=field)


def read_body(req: falcon.Request, most: int = MAX_BODY_BYTES) -> bytes:
    """The exact bytes of the body, at most so many.

    Raises:
        Refusal: There are more, or they cannot be read.
    """
    try:
        length = req.content_length
        # Falcon's bounded stream is empty for a chunked body, so the server's own stream is read.
        chunked = bool(req.env.get("wsgi.input_terminated"))
        wanted = (most + 1 if chunked else 0) if length is None else min(length, most + 1)
        body = bytes(req.env["wsgi.input"].read(wanted))
    except Exception as error:
        # Servers have errors of their own for a body that breaks off or is framed wrongly.
        raise invalid("the body cannot be read") from error
    if len(body) > most:
        raise Refusal(413, "too_large", f"the body may take {most} bytes")
    if length is not None and len(body) < length:
        raise invalid("the body is shorter than its Content-Length")
    return body


def read_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object in a body.

    Raises:
        Refusal: It is none.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid("the body is not JSON") from error
    if not isinstance(found, dict):
        raise invalid("the body is not a JSON object")
    return found


def read_ask(item: object, callbacks: CallbacksOfCall) -> Ask:
    """What a provision asks for (contract, section 1).

    Raises:
        Refusal: A field is missing or wrong.
    """
    if not isinstance(item, Mapping):
        raise invalid("each item must be a JSON object")
    job_id = read_job_id(item)
    fire_at = _instant(item.get("fire_at"), "fire_at")
    key = item.get("dedup_key")
    if key is not None and not _names(key, job_id, fire_at):
        raise invalid("dedup_key must be job_id:fire_at", "dedup_key")
    try:
        url = callbacks.check(item.get("agent_callback_url"))
    except ValueError as error:
        raise invalid(f"agent_callback_url {error}", "agent_callback_url") from error
    return Ask(job_id, fire_at, url)


def read_job_id(item: object) -> str:
    """The `job_id` of an item.

    Raises:
        Refusal: It is missing or no valid id.
    """
    job_id = item.get("job_id") if isinstance(item, Mapping) else item
    if not contract.is_job_id(job_id):
        raise invalid("job_id is missing or not a valid id", "job_id")
    return job_id


def read_items(found: Mapping[str, Any], field: str) -> list[Any]:
    """The list in a field of a batch; none where it is missing.

    Raises:
        Refusal: It is no list.
    """
    items = found.get(field, [])
    if not isinstance(items, list):
        raise invalid(f"{field} must be a list", field)
    return items


def _instant(value: object, field: str) -> datetime:
    if not isinstance(value, str) or len(value) > _MOST_INSTANT_CHARACTERS:
        raise invalid(f"{field} must be an ISO 8601 instant with an offset", field)
    try:
        return read_instant(value)
    except ValueError as error:
        raise invalid(f"{field} cannot be read: {error}", field) from error


def _names(key: object, job_id: str, fire_at: datetime) -> bool:
    # Instants are compared as instants: Z is +00:00.
    start = f"{job_id}:"
    if not isinstance(key, str) or not key.startswith(start):
        return False
    try:
        return _instant(key.removeprefix(start), "dedup_key") == fire_at
    except Refusal:
        return False
