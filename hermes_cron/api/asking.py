"""What is asked of the API: bodies, parameters and preconditions, read strictly, refused in one sentence each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import falcon
import msgspec

from hermes_cron.api.answers import Refusal
from hermes_cron.errors import JobChanged
from hermes_cron.job import Job

MAX_BODY_BYTES = 256 * 1024
"""Enough for arguments of 64 KiB, however they are spelled as JSON."""

T = TypeVar("T")
_TAG = re.compile(r'(W/)?"([^"]*)"')
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`|required field `([^`]*)`")


def read_body(req: falcon.Request, form: type[T]) -> tuple[T, bytes]:
    """The body, which must be JSON of this form, and its exact bytes.

    Raises:
        Refusal: It is not JSON (400, 415), too long (413), or of another form (400).
    """
    raw = _bytes(req)
    if (req.content_type or "").partition(";")[0].strip().lower() != falcon.MEDIA_JSON:
        raise Refusal(415, "media_type", "The body must be application/json.")
    if req.get_header("Content-Encoding"):
        raise Refusal(415, "media_type", "The body must not be encoded.")
    try:
        return msgspec.json.decode(raw, type=form), raw
    except msgspec.ValidationError as error:
        raise _misshapen(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, "body_invalid", "The body is no JSON.") from error


def read_optional_body(req: falcon.Request, form: type[T]) -> T:
    """The body, of this form; where there is none, the form's defaults.

    Raises:
        Refusal: There is one, and it cannot be used.
    """
    if not req.content_length and "HTTP_TRANSFER_ENCODING" not in req.env:
        return form()
    return read_body(req, form)[0]


def read_query(req: falcon.Request, form: type[T]) -> T:
    """The parameters of the URL, of this form; each may stand there once.

    Raises:
        Refusal: One is unknown, stands there twice, or is out of its range (400).
    """
    found: dict[str, str] = {}
    for name, value in req.params.items():
        if isinstance(value, list):
            raise Refusal(400, "query_invalid", f"{name[:60]!r} may stand in the query once.", field=name[:60])
        found[name] = value
    try:
        return msgspec.convert(found, form, strict=False)
    except msgspec.ValidationError as error:
        raise _misshapen(error, "query_invalid") from error


def given(value: T | msgspec.UnsetType) -> T | None:
    """The parameter; None where it is not there. It is never null: that is the text `null`."""
    return None if isinstance(value, msgspec.UnsetType) else value


def tag_of(job: Job) -> str:
    """The ETag of a job: of what was ordered, not of where it stands."""
    return f'"{job.revision}"'


def wanted_revision(req: falcon.Request, job: Job) -> int | None:
    """The revision that `If-Match` wants the job to be at; None where it does not care.

    Raises:
        JobChanged: It is at none that is wanted.
    """
    header = req.get_header("If-Match")
    if header is None or header.strip() == "*":
        return None
    # A weak tag matches nothing here (RFC 9110, section 13.1.1).
    tags = [text for weak, text in _TAG.findall(header) if not weak]
    if str(job.revision) not in tags:
        raise JobChanged(f"Job {job.id!r} was changed meanwhile: it is at revision {job.revision}.")
    return job.revision


def idempotency_key(req: falcon.Request) -> str:
    """The `Idempotency-Key` of the request; empty where it has none.

    Raises:
        Refusal: It is none (400).
    """
    key = req.get_header("Idempotency-Key")
    if key is not None and _KEY.fullmatch(key) is None:
        words = "Idempotency-Key must be 1 to 255 visible ASCII characters."
        raise Refusal(400, "idempotency_key_invalid", words)
    return key or ""


def _misshapen(error: msgspec.ValidationError, code: str = "body_invalid") -> Refusal:
    text = str(error)
    named = _UNKNOWN.search(text)
    place = _PLACE.search(text)
    parts = [place[1] if place else "", (named[1] or named[2]) if named else ""]
    return Refusal(400, code, f"{_PLACE.sub('', text)[:500]}.", field=".".join(part for part in parts if part)[:100])


def _bytes(req: falcon.Request) -> bytes:
    """The exact bytes of the body; whatever its length header says, no more than the limit is read."""
    length = req.content_length
    if length is not None and length > MAX_BODY_BYTES:
        raise _too_long()
    try:
        # Falcon's bounded stream is empty for a chunked body, so the server's own stream is read.
        body = bytes(_stream(req.env).read(MAX_BODY_BYTES + 1 if length is None else length))
    except MemoryError:
        raise
    except Exception as error:
        raise Refusal(400, "body_invalid", "The body cannot be read.") from error
    if len(body) > MAX_BODY_BYTES:
        raise _too_long()
    if length is not None and len(body) < length:
        raise Refusal(400, "body_invalid", "The body is shorter than its Content-Length.")
    return body


def _stream(env: Mapping[str, Any]) -> Any:
    return env["wsgi.input"]


def _too_long() -> Refusal:
    return Refusal(413, "body_too_long", f"The body may take {MAX_BODY_BYTES} bytes.")
