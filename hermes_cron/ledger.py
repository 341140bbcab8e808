"""`Entry`: one row of the ledger. A fire that came due, and its one outcome (I12)."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hermes_cron.clock import instant_text


class FireState(enum.StrEnum):
    """Where a fire stands. The first two are open; the others are outcomes, and final."""

    WAITING = "waiting"
    """Granted its turn, but may not run yet: behind another run, or until a retry's instant."""
    RUNNING = "running"
    """A run of it is open."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    MISSED = "missed"
    """It came due too long before anybody could run it."""
    SKIPPED = "skipped"
    """A policy, a pause or an edit let it pass."""
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """Its worker died, more often than `reruns` allows."""


OPEN = frozenset({FireState.WAITING, FireState.RUNNING})
DEAD_LETTER = frozenset({FireState.FAILED, FireState.INTERRUPTED})


def scheduled_key(fire_at: datetime) -> str:
    """The key of a scheduled fire within its job: its instant."""
    return instant_text(fire_at)


def manual_key(uuid: str) -> str:
    """The key of a manual run within its job."""
    return f"manual:{uuid}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fire stands in the ledger: nothing of it ever changes, so a page that begins behind it stays that page.

    Fires of one instant stand in an order that is the store's own, and always the same.
    """

    fire_at: datetime
    job_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Keep:
    """What the ledger keeps at least.

    Of each job its newest `fires` (0: all, for ever) and its newest `dead` letters, and of all jobs what was settled
    within `span`. That is a day at least where people choose it: a clock that is set back brings no trimmed fire back.
    """

    fires: int = 10_000
    span: timedelta = timedelta(days=90)
    dead: int = 10_000

    @property
    def for_ever(self) -> bool:
        """Whether nothing is ever trimmed."""
        return self.fires == 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One fire of one job, or adjacent fires with one outcome, and what became of it.

    `fire_at` is its instant (for a manual run: when it was asked for); `last_at` and `count` tell of a row that
    stands for adjacent fires (`count` is None when there were too many to count). `not_before` is a retry's
    instant; `since` is when it began to wait. `failures` counts failed attempts, `deaths` those whose worker died.
    """

    job_id: str
    key: str
    fire_at: datetime
    state: FireState
    manual: bool = False
    last_at: datetime | None = None
    count: int | None = 1
    not_before: datetime | None = None
    since: datetime | None = None
    attempts: int = 0
    failures: int = 0
    deaths: int = 0
    counted: bool = False
    reason: str = ""
    settled_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether it has no outcome yet."""
        return self.state in OPEN

    @property
    def place(self) -> Place:
        """Where it stands in the ledger."""
        return Place(self.fire_at, self.job_id, self.key)

    def settle(self, state: FireState, reason: str, now: datetime) -> Entry:
        """Write its outcome. An outcome once written never changes (I12)."""
        if not self.open:
            return self
        return replace(self, state=state, reason=reason, settled_at=now, not_before=None, since=None)
