"""`Job`: a standing order. A task, its arguments, a schedule, its policies, and when it fires next."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from hermes_cron import contract
from hermes_cron.errors import JobInvalid
from hermes_cron.policy import Policy
from hermes_cron.schedule import Schedule

MAX_ARGS_BYTES = 64 * 1024
_MICROSECOND = timedelta(microseconds=1)


class JobState(enum.StrEnum):
    """Where a job stands."""

    SCHEDULED = "scheduled"
    PAUSED = "paused"
    COMPLETED = "completed"
    REMOVED = "removed"
    """Hidden; kept until its last run is settled and its disarm confirmed."""


@dataclass(frozen=True, slots=True)
class Job:
    """A standing order and where it stands.

    `counted` is how many fires count for `repeat`; `failures_in_row` for `pause_on_failure`. `fence` rises with
    every grant. `revision` rises with every edit, `scheduled_in` is the revision that last moved the schedule.
    """

    id: str
    task: str
    schedule: Schedule
    args: Mapping[str, Any] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    state: JobState = JobState.SCHEDULED
    created_at: datetime | None = None
    next_fire_at: datetime | None = None
    last_fire_at: datetime | None = None
    counted: int = 0
    failures_in_row: int = 0
    fence: int = 0
    revision: int = 1
    scheduled_in: int = 1
    reason: str = ""
    """Why it is paused."""
    origin: str = ""
    """Which request made it, as a fingerprint: the same request, made again, is told so and makes nothing."""

    def __post_init__(self) -> None:
        """Check what a person chose.

        Raises:
            JobInvalid: The id, the arguments, or policies that do not go together.
        """
        check_job_id(self.id)
        check_args(self.args)
        if not self.policy.jitter:
            # Each job that is read comes by here, and to find out a period takes a millisecond.
            return
        period = self.schedule.period
        if period is None or self.policy.jitter >= period.total_seconds():
            raise JobInvalid(
                "jitter must be smaller than the time between two fires.", field="jitter", hint="A one-shot takes none."
            )

    @property
    def offset(self) -> timedelta:
        """Its stable share of `jitter`: the same at every slot, spread over jobs by their ids."""
        if not self.policy.jitter:
            return timedelta(0)
        share = int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:8]) / 2**64
        return timedelta(seconds=share * self.policy.jitter)

    @property
    def repeat(self) -> int | None:
        """How many fires are counted in all; None is forever."""
        return 1 if self.schedule.kind == "once" and self.policy.repeat is None else self.policy.repeat

    @property
    def used_up(self) -> bool:
        """Whether as many fires are counted as `repeat` allows."""
        return self.repeat is not None and self.counted >= self.repeat

    @property
    def grace(self) -> timedelta:
        """How late a fire may still run."""
        return self.policy.grace_for(self.schedule.period)

    @property
    def anchored_at_completion(self) -> bool:
        """Whether its next fire is counted from the end of the last run."""
        return self.schedule.anchor == "completion"

    def first_fire(self, now: datetime) -> datetime | None:
        """Its first fire after `now`, where counting begins: of `every`, `now` is taken for a slot, not for a fire."""
        return self.fire_after(now + self.offset if self.schedule.kind == "every" else now)

    def fire_after(self, base: datetime) -> datetime | None:
        """Its first fire strictly after `base` within its window: a slot of the schedule plus its offset."""
        if self.used_up:
            return None
        offset = self.offset
        slot = self.schedule.next_after(base - offset)
        starts_at = self.policy.starts_at
        if slot is not None and starts_at is not None and slot < starts_at:
            slot = starts_at if self.schedule.kind == "every" else self.schedule.next_after(starts_at - _MICROSECOND)
        if slot is None or (self.policy.ends_at is not None and slot > self.policy.ends_at):
            return None
        return slot + offset

    def last_due(self, now: datetime) -> datetime | None:
        """The last of its fires that are due, given that `next_fire_at` is the first."""
        first = self.next_fire_at
        if first is None or first > now:
            return None
        if self.anchored_at_completion:
            # The one after it is counted from its end, so there is none yet.
            return first
        until = now - self.offset
        if self.policy.ends_at is not None:
            until = min(until, self.policy.ends_at)
        last = self.schedule.last_until(until, first - self.offset)
        return first if last is None else last + self.offset

    def fire_following(self, last: datetime, now: datetime) -> datetime | None:
        """Its first fire after those that are due, `last` being the last of them; it lies in the future."""
        return self.first_fire(now) if self.anchored_at_completion else self.fire_after(last)

    def fire_before(self, fire_at: datetime) -> datetime | None:
        """The due fire next before this one, if any: not before `next_fire_at`."""
        first = self.next_fire_at
        if first is None or fire_at <= first:
            return None
        last = self.schedule.last_until(fire_at - self.offset - _MICROSECOND, first - self.offset)
        return first if last is None else last + self.offset

    def fires_between(self, first: datetime, last: datetime) -> int | None:
        """How many fires lie from the first to the last of them, both included; None when too many to count."""
        more = self.schedule.count_between(first - self.offset, last - self.offset)
        return None if more is None else more + 1

    def with_state(self, state: JobState, reason: str = "") -> Job:
        """The same job in another state; only a scheduled job has a next fire."""
        next_fire_at = self.next_fire_at if state is JobState.SCHEDULED else None
        return replace(self, state=state, reason=reason, next_fire_at=next_fire_at)


def check_job_id(value: object) -> None:
    """Refuse what no person may call a job.

    Raises:
        JobInvalid: It is no id, or one of the agent's own (a leading underscore).
    """
    if not contract.is_job_id(value) or str(value).startswith("_"):
        shown = repr(value) if len(repr(value)) < 80 else f"{repr(value)[:60]}... ({len(str(value))} characters)"
        hint = "Use 1 to 255 of A-Z a-z 0-9 . _ : @ -, not starting with a dot or an underscore."
        raise JobInvalid(f"{shown} cannot be a job id.", field="id", hint=hint)


def check_args(args: object) -> None:
    """Refuse arguments that are not a JSON object of at most 64 KiB with text keys.

    Raises:
        JobInvalid: They are not.
    """
    if not isinstance(args, Mapping) or not all(isinstance(key, str) for key in args):
        raise JobInvalid("args must be a JSON object: the task's keyword arguments by name.", field="args")
    try:
        size = len(json.dumps(dict(args), allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise JobInvalid(f"args must be plain JSON: {error}.", field="args") from error
    if size > MAX_ARGS_BYTES:
        raise JobInvalid(f"args may take {MAX_ARGS_BYTES} bytes as JSON; these take {size}.", field="args")
