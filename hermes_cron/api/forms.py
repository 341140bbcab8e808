"""The forms of the API: what a body, a query and an answer look like. The OpenAPI document is made of these.

What `hermes_cron.views` writes must fit the answers here; a test holds the two together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Instant = Annotated[
    str, Meta(description="UTC, `YYYY-MM-DDTHH:MM:SS[.ffffff]+00:00`.", extra_json_schema={"format": "date-time"})
]
Seconds = Annotated[float, Meta(description="Seconds.")]
JobId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9:@-][A-Za-z0-9._:@-]{0,254}$", description="The job's id.")]
JobState = Literal["scheduled", "paused", "completed"]
FireState = Literal["waiting", "running", "succeeded", "failed", "missed", "skipped", "cancelled", "interrupted"]
ArmState = Literal["armed", "wanted", "disarm wanted", "none", "ticker"]
Limit = Annotated[int, Meta(ge=1, le=500, description="How many at most.")]
Cursor = Annotated[str, Meta(min_length=1, max_length=1000, description="`next` of the page before.")]
Anchor = Literal["fire", "completion"]


class Policies(Struct, forbid_unknown_fields=True, frozen=True):
    """What the job does about late, overlapping and failing fires. Spans are seconds; null is the default."""

    misfire: str | UnsetType | None = UNSET
    misfire_max: int | UnsetType | None = UNSET
    grace: float | UnsetType | None = UNSET
    overlap: str | UnsetType | None = UNSET
    max_attempts: int | UnsetType | None = UNSET
    backoff: float | UnsetType | None = UNSET
    backoff_cap: float | UnsetType | None = UNSET
    reruns: int | UnsetType | None = UNSET
    timeout: float | UnsetType | None = UNSET
    repeat: int | UnsetType | None = UNSET
    starts_at: str | UnsetType | None = UNSET
    ends_at: str | UnsetType | None = UNSET
    jitter: float | UnsetType | None = UNSET
    pause_on_failure: int | UnsetType | None = UNSET


class JobOrder(Struct, forbid_unknown_fields=True, kw_only=True):
    """The whole order of a job that exists."""

    schedule: str
    task: str
    args: dict[str, Any] = {}
    timezone: str | None = None
    anchor: Anchor = "fire"
    policy: Policies = Policies()


class NewJob(JobOrder, forbid_unknown_fields=True, kw_only=True):
    """A job to be added."""

    id: str


class JobEdit(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is to change of a job; what is not given, or null, stays. A policy that is null goes back to its default."""

    schedule: str | None = None
    task: str | None = None
    args: dict[str, Any] | None = None
    timezone: str | None = None
    anchor: Anchor | None = None
    policy: Policies | None = None


class Pause(Struct, forbid_unknown_fields=True):
    """Why a job is paused."""

    reason: Annotated[str, Meta(max_length=500)] = ""


class PageQuery(Struct, forbid_unknown_fields=True):
    """Which page of a list."""

    limit: Limit = 50
    cursor: Cursor | UnsetType = UNSET


class RunsQuery(Struct, forbid_unknown_fields=True):
    """Which page of the ledger, of which job, and with which outcome."""

    job: Annotated[str, Meta(min_length=1, max_length=255, description="Fires of this job only.")] | UnsetType = UNSET
    state: FireState | UnsetType = UNSET
    limit: Limit = 50
    cursor: Cursor | UnsetType = UNSET


class ArmsQuery(Struct, forbid_unknown_fields=True):
    """Which page of the arms, and whether with the agent's own sentinels."""

    sentinels: bool = False
    limit: Limit = 50
    cursor: Cursor | UnsetType = UNSET


class NextQuery(Struct, forbid_unknown_fields=True):
    """How many fires to look ahead."""

    count: Annotated[int, Meta(ge=1, le=1000)] = 5


class PoliciesInForce(Struct, forbid_unknown_fields=True, kw_only=True):
    """Every policy of a job, as it works out."""

    misfire: str
    misfire_max: int
    grace: Seconds
    overlap: str
    max_attempts: int
    backoff: Seconds
    backoff_cap: Seconds
    reruns: int
    timeout: Seconds | None
    repeat: int | None
    starts_at: Instant | None
    ends_at: Instant | None
    jitter: Seconds
    pause_on_failure: int


class JobView(Struct, forbid_unknown_fields=True, kw_only=True):
    """A job: what was ordered, where it stands, and its arm in one word."""

    id: str
    task: str
    args: dict[str, Any]
    schedule: str
    timezone: str
    anchor: Anchor
    kind: str
    policy: PoliciesInForce
    state: JobState
    reason: str
    next_fire_at: Instant | None
    last_fire_at: Instant | None
    created_at: Instant | None
    counted: int
    failures_in_row: int
    open_runs: list[str]
    waiting: int
    arm: ArmState
    wake_at: Instant | None
    revision: int


class JobEcho(JobView, forbid_unknown_fields=True, kw_only=True):
    """A job, and what its schedule says: in words, its next fires, what may surprise."""

    words: str
    upcoming: list[Instant]
    warnings: list[str]


class JobPage(Struct, forbid_unknown_fields=True):
    """Jobs by id; `next` is the cursor of the page after, null at the end."""

    items: list[JobView]
    next: str | None


class JobRemoved(Struct, forbid_unknown_fields=True):
    """A job that is no more, and whether its alarm is gone."""

    id: str
    removed: bool
    arm: ArmState


class RunAsked(Struct, forbid_unknown_fields=True):
    """A manual run that was written down: `key` is its fire's key in the ledger."""

    job_id: str
    key: str
    arm: ArmState


class NextFires(Struct, forbid_unknown_fields=True):
    """When a job fires next."""

    id: str
    state: JobState
    kind: str
    words: str
    timezone: str
    upcoming: list[Instant]
    warnings: list[str]


class RunView(Struct, forbid_unknown_fields=True, kw_only=True):
    """One attempt at a fire, and what became of it."""

    id: str
    job_id: str
    fire_at: Instant | None
    attempt: int
    fence: int
    manual: bool
    task: str
    args: dict[str, Any]
    state: Literal["claimed", "started", "succeeded", "failed", "cancelled", "abandoned"]
    worker: str
    claimed_at: Instant | None
    started_at: Instant | None
    ended_at: Instant | None
    took_s: float | None
    timeout: float | None
    lease_until: Instant | None
    cancel: str
    error: str
    result: Any


class LineView(Struct, forbid_unknown_fields=True, kw_only=True):
    """One line of a run's output: printed to `stdout` or `stderr`, or logged, by the logger and at the level named."""

    at: Instant
    source: str
    level: str | None
    text: str


class OutputView(Struct, forbid_unknown_fields=True, kw_only=True):
    """What an ended run said; where much is too much, `left_out` bytes are missing after `left_out_after` lines."""

    run_id: str
    job_id: str
    state: Literal["succeeded", "failed", "cancelled", "abandoned"]
    kept: bool
    lines: list[LineView]
    left_out: int
    left_out_after: int | None


class FireView(Struct, forbid_unknown_fields=True, kw_only=True):
    """One row of the ledger: a fire that came due, its outcome, and the runs it took."""

    job_id: str
    key: str
    fire_at: Instant
    last_at: Instant | None
    count: int | None
    manual: bool
    state: FireState
    reason: str
    attempts: int
    retry_at: Instant | None
    settled_at: Instant | None
    started_at: Instant | None
    late_s: float | None
    took_s: float | None
    worker: str | None
    error: str
    runs: list[RunView]


class FirePage(Struct, forbid_unknown_fields=True):
    """The ledger, the newest first; `next` is the cursor of the page after, null at the end."""

    items: list[FireView]
    next: str | None


class ArmView(Struct, forbid_unknown_fields=True, kw_only=True):
    """One arm: what is wanted, what was confirmed, and why it was refused, if it was."""

    job_id: str
    sentinel: bool
    state: ArmState
    wake_at: Instant | None
    armed_at: Instant | None
    refused: str | None


class ArmPage(Struct, forbid_unknown_fields=True):
    """Arms by id; `next` is the cursor of the page after, null at the end."""

    items: list[ArmView]
    next: str | None


class StopView(Struct, forbid_unknown_fields=True):
    """Whether everything is stopped."""

    stopped: bool


class ErrorBody(Struct, forbid_unknown_fields=True):
    """What went wrong: a stable code, a sentence, and the field at fault, if it is one."""

    code: str
    message: str
    field: str | UnsetType = UNSET


class Error(Struct, forbid_unknown_fields=True):
    """The one form of every error."""

    error: ErrorBody
