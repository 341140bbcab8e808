"""Read a JSON object that a stranger wrote, with one kind of failure."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from hermes_cron.errors import FireInvalid, TokenRejected
from hermes_cron.fire import Fire
from hermes_cron.verify.reasons import Reason


def read_object(data: bytes) -> dict[str, Any]:
    """The JSON object in these bytes: UTF-8, no name twice, no NaN or Infinity, nested no deeper than we can follow.

    Raises:
        ValueError: It is none.
    """
    return _object(data, _STRICT)


def read_loose_object(data: bytes) -> dict[str, Any]:
    """The same, but odd parts of it stay possible: of a name that stands there twice the last one counts.

    Raises:
        ValueError: It is no JSON object.
    """
    return _object(data, _LOOSE)


def read_fire(body: bytes) -> Fire:
    """The fire that a body names, to compare with what was signed; it is read as the webhook reads it, or stricter.

    Raises:
        TokenRejected: It names none, so nothing that was signed can be about it.
    """
    try:
        return Fire.from_body(read_object(body))
    except (ValueError, FireInvalid) as error:
        raise TokenRejected(Reason.BODY) from error


def _object(data: bytes, decoder: json.JSONDecoder) -> dict[str, Any]:
    try:
        found = decoder.decode(data.decode())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # With a name twice, what was checked and what is used may be different values.
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it has a name twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
_LOOSE = json.JSONDecoder()
