"""Instants and spans of time as people write them in tests."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from hermes_cron.clock import read_instant
from hermes_cron.errors import TimeInvalid

Instant = datetime | str
"""An aware datetime, or ISO 8601 with an offset: `2026-03-29T06:00+01:00`, `2026-03-29T05:00Z`."""

Span = timedelta | float
"""A timedelta, or seconds."""


def instant_of(value: Instant, name: str) -> datetime:
    """The instant, in UTC; `name` is the parameter it was given as.

    Raises:
        TimeInvalid: It cannot be read, or has no offset.
    """
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    try:
        return read_instant(value if isinstance(value, str) else str(value))
    except ValueError as error:
        raise TimeInvalid(f"{name}: {error}.", field=name) from error


def span_of(value: Span, name: str) -> timedelta:
    """The span, which is not negative.

    Raises:
        TimeInvalid: It is none.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds < 0:
        raise TimeInvalid(f"{name} must be a timedelta or seconds, from 0 on, not {value!r}.", field=name)
    try:
        return timedelta(seconds=seconds)
    except OverflowError as error:
        raise TimeInvalid(f"{name} is longer than time is: {value!r}.", field=name) from error
