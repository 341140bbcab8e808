"""`Policy`: what a job does about late, overlapping, failing and repeated fires; checked on the way in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from hermes_cron.clock import instant_text, read_instant
from hermes_cron.errors import JobInvalid

MISFIRES = ("run_latest", "run_all", "skip")
OVERLAPS = ("skip", "queue", "allow", "replace")
DAY = 86_400.0
YEAR = 366 * DAY
_RUN_ALL = re.compile(r"run_all\((\d{1,4})\)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Policy:
    """A job's policies (docs/architecture.md, "Policies"); durations in seconds.

    `grace` None means min(period, 24 h), at least 5 minutes; `repeat` None means forever for a recurring schedule;
    `pause_on_failure` 0 means never.
    """

    misfire: str = "run_latest"
    misfire_max: int = 10
    grace: float | None = None
    overlap: str = "skip"
    max_attempts: int = 1
    backoff: float = 10.0
    backoff_cap: float = 3600.0
    reruns: int = 1
    timeout: float | None = None
    repeat: int | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    jitter: float = 0.0
    pause_on_failure: int = 0

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            JobInvalid: One is out of its range; `field` names it.
        """
        self._check_misfire()
        _one_of("overlap", self.overlap, OVERLAPS)
        _seconds("grace", self.grace, least=0)
        _seconds("timeout", self.timeout, least=0.001)
        _seconds("backoff", self.backoff, least=0)
        _seconds("backoff_cap", self.backoff_cap, least=0)
        _seconds("jitter", self.jitter, least=0)
        _whole("max_attempts", self.max_attempts, 1, 1000)
        _whole("reruns", self.reruns, 0, 1000)
        _whole("pause_on_failure", self.pause_on_failure, 0, 1_000_000)
        if self.repeat is not None:
            _whole("repeat", self.repeat, 1, 1_000_000_000)
        for name in ("starts_at", "ends_at"):
            object.__setattr__(self, name, _instant(name, getattr(self, name)))
        if self.starts_at and self.ends_at and self.starts_at >= self.ends_at:
            raise JobInvalid("ends_at must lie after starts_at.", field="ends_at")

    def _check_misfire(self) -> None:
        match = _RUN_ALL.fullmatch(self.misfire) if isinstance(self.misfire, str) else None
        if match:
            object.__setattr__(self, "misfire", "run_all")
            object.__setattr__(self, "misfire_max", int(match[1]))
        if self.misfire not in MISFIRES:
            words = f"misfire must be run_latest, run_all, run_all(N) or skip, not {self.misfire!r}."
            raise JobInvalid(words, field="misfire")
        if match and not 1 <= self.misfire_max <= 1000:
            raise JobInvalid(f"misfire run_all(N) takes an N from 1 to 1000, not {match[1]}.", field="misfire")
        _whole("misfire_max", self.misfire_max, 1, 1000)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Policy:
        """Read `to_dict`'s form, or what a person wrote; instants are ISO 8601 text with an offset.

        Raises:
            JobInvalid: An unknown field, or one out of its range.
        """
        known = {f.name for f in fields(cls)}
        for name in data:
            if name not in known:
                raise JobInvalid(f"{name!r} is not a policy; known are {', '.join(sorted(known))}.", field=str(name))
        values = dict(data)
        for name in ("starts_at", "ends_at"):
            if isinstance(values.get(name), str):
                try:
                    values[name] = read_instant(values[name])
                except ValueError as error:
                    hint = "Write an instant like 2030-01-31T09:00:00Z."
                    raise JobInvalid(f"{name}: {error}.", hint=hint, field=name) from error
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Only what differs from the default, as plain JSON."""
        out: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value != f.default:
                out[f.name] = instant_text(value) if isinstance(value, datetime) else value
        return out

    def grace_for(self, period: timedelta | None) -> timedelta:
        """How late a fire may still run."""
        if self.grace is not None:
            return timedelta(seconds=self.grace)
        day = timedelta(days=1)
        return day if period is None else max(min(period, day), timedelta(minutes=5))


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise JobInvalid(f"{name} must be one of {', '.join(allowed)}, not {value!r}.", field=name)


def _whole(name: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise JobInvalid(f"{name} must be a whole number from {least} to {most}, not {value!r}.", field=name)


def _instant(name: str, value: object) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise JobInvalid(f"{name} must be an instant with an offset, not {value!r}.", field=name)
    return value.astimezone(UTC)


def _seconds(name: str, value: object, *, least: float) -> None:
    if value is None and name in ("grace", "timeout"):
        return
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not least <= float(value) <= YEAR:  # type: ignore[arg-type]  # `good` says that it is a number.
        raise JobInvalid(f"{name} must be seconds from {least:g} to {YEAR:.0f}, not {value!r}.", field=name)
