"""The only door to the machine's time; everything else is handed a clock.

Instants are aware datetimes in UTC. Their one text form is `YYYY-MM-DDTHH:MM:SS[.ffffff]+00:00`, with a fraction
only if it is not zero, so that equal instants have equal keys (contract, section 1).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def utc_now() -> datetime:
    """The machine's wall clock, in UTC."""
    return datetime.now(UTC)


def boot_seconds() -> float:
    """Seconds since boot, counting the time the machine was suspended; only differences mean anything."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def monotonic() -> float:
    """Seconds that never go back; only differences mean anything."""
    return time.monotonic()


def instant_text(instant: datetime) -> str:
    """The one text form of an instant."""
    return instant.astimezone(UTC).isoformat()


def read_instant(text: str) -> datetime:
    """Read any ISO 8601 instant that has an offset (`Z` included), as UTC.

    Raises:
        ValueError: It cannot be read, has no offset, or lies outside the years 1 to 9999.
    """
    try:
        instant = datetime.fromisoformat(text)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{text!r} is not an ISO 8601 instant") from error
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no offset; write Z or +00:00 at its end")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} lies outside the years 1 to 9999") from error


def to_micros(instant: datetime) -> int:
    """Whole microseconds since 1970: how stores keep an instant."""
    return (instant - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The instant of `to_micros`, back."""
    return EPOCH + timedelta(microseconds=micros)
