"""The swappable roles as protocols: read this and you know every seam of hermes_cron.

Four roles: `FireVerifier`, `Broker`, `Store` and `CronScheduler`. A fifth thing that is handed around, `execute`,
is a plain function from `Run` to `Run`. Which room stands behind which seam is known to `bootstrap` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from hermes_cron.chapter import Chapter
from hermes_cron.fire import Fire
from hermes_cron.ledger import Entry, FireState, Keep, Place
from hermes_cron.output import KEPT_IN_ALL, KEPT_PER_JOB, Output
from hermes_cron.record import Moment, Record
from hermes_cron.run import Run

R = TypeVar("R")
Step = Callable[[Record, Moment], tuple[Record, R]]
"""A pure step of the protocol: what is kept of one job, and the moment, in; what is to be kept, and an answer, out."""


class FireVerifier(Protocol):
    """Is this fire really from NAS, and for us?"""

    def __call__(self, token: str, body: bytes) -> Mapping[str, Any]:
        """The claims of a good token whose bindings, if any, match these exact body bytes.

        Raises:
            TokenRejected: It is not good; the reason is for the log only.
            KeysUnavailable: It cannot be judged now.
        """

    def ready(self) -> bool:
        """Whether a good token could be judged now, without a new fetch."""


class Delivery(Protocol):
    """One message taken from the queue."""

    fire: Fire

    def ack(self) -> None:
        """The claim is decided: the queue may forget the message. May be called from any thread, more than once."""


class Broker(Protocol):
    """Carries fires from the webhook to the workers. A doorbell: whatever it loses, the store still knows."""

    def enqueue(self, fire: Fire) -> None:
        """Put a fire on the queue, as durably as the broker can.

        Raises:
            BrokerError: It was not confirmed within the deadline; it may have been queued all the same.
        """

    def consume(self, handle: Callable[[Delivery], None], free: Callable[[], int], stop: Callable[[], bool]) -> None:
        """Hand deliveries to `handle`, never more at a time than `free()` slots, until `stop()`; reconnects by itself.

        `handle` runs on the calling thread and must return soon. Nothing it raises ends the loop. Messages that
        cannot be read are logged and rejected once. What was not acknowledged goes back to the queue at the end.
        """

    def depth(self) -> int | None:
        """How many messages wait in the queue or are reserved unacknowledged; None when that cannot be read."""

    def set_aside(self) -> int | None:
        """How many messages that were refused are kept to be looked at; None when that cannot be read."""

    def close(self) -> None:
        """Give back every connection. Closing twice is closing once."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the store knows of work now or soon; zero everywhere means that it is safe to sleep.

    While everything is stopped only live runs and wanted disarms count: nothing else may be taken up.
    """

    open_runs: int = 0
    dead_leases: int = 0
    waiting: int = 0
    due: int = 0
    wanted_arms: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.open_runs + self.dead_leases + self.waiting + self.due + self.wanted_arms


class Store(Protocol):
    """Keeps jobs, fires and runs, and grants each fire to one claimer.

    The decisions are not the store's: `change` applies a pure step of `hermes_cron.rules` to what is kept of one
    job, in one transaction at the store's own time. So every store keeps the same promises (I5, I6, I12, I14, I15).
    Over the seven methods of the house, because reading for people (`read`, `jobs`, `fires`, `runs`) is here too.
    """

    def change(self, job_id: str, step: Step[R]) -> R:
        """Apply one step to one job, atomically and durably. A step may be tried again: it must be pure.

        Raises:
            StoreBusy: Somebody else held the job for longer than the deadline.
            StoreError: The store cannot be reached; nothing was written.
        """

    def overdue(self, limit: int) -> Sequence[str]:
        """Ids of jobs that need a claim now: a wake has come, or an open run's lease is dead. Oldest first."""

    def wanted(self, limit: int) -> Sequence[str]:
        """Ids (sentinels too) whose arm is wanted, the earliest wake first. While stopped: none but disarms."""

    def next_wake(self) -> datetime | None:
        """The earliest wake of any job, sentinels not counted; None when there is none or everything is stopped."""

    def load(self, within: float) -> Load:
        """What is running, waiting, wanted, and due within so many seconds."""

    def set_stopped(self, stopped: bool) -> None:
        """Stop everything at every door, or end that. Once this returns, no `begin` is granted (I15)."""

    def now(self) -> datetime:
        """The store's own clock, which all of a store's users share; raises StoreError when it is unreachable."""

    def stopped(self) -> bool:
        """Whether everything is stopped."""

    def read(self, job_id: str) -> Record | None:
        """What is kept of one job: its definition, its arm, its open runs and unsettled fires; None if unknown."""

    def jobs(self) -> Sequence[Record]:
        """All jobs, without sentinels and removed ones, by id."""

    def arms(self) -> Sequence[Record]:
        """All records that have an arm in the store: jobs, removed ones not yet disarmed, and sentinels."""

    def fires(
        self, job_id: str | None = None, limit: int = 100, states: Collection[FireState] = (),
        before: Place | None = None,
    ) -> Sequence[Entry]:  # fmt: skip
        """The ledger, newest first: of these states only, if any are given, and only what stands behind `before`.

        What it costs grows with `limit`, not with what lies before the page or is kept behind it.
        """

    def fire(self, job_id: str, key: str) -> Entry | None:
        """The fire with this key of this job, open or settled; None where the ledger has none."""

    def runs(self, job_id: str | None = None, run_id: str | None = None, limit: int = 100) -> Sequence[Run]:
        """Runs, open and ended, newest first."""

    def runs_of(self, entries: Collection[Entry]) -> Sequence[Run]:
        """All runs of these fires, open and ended, in no order."""

    def keep_output(
        self, run: Run, output: Output, *, per_job: int = KEPT_PER_JOB, in_all: int = KEPT_IN_ALL
    ) -> None:  # fmt: skip
        """Keep what an ended run said, once: what is kept of a run already stays, and an open run keeps nothing (I6).

        Kept is the output of the newest runs only, so many of each job and so many in all; what is older goes in the
        same transaction.
        """

    def output(self, run_id: str) -> Output | None:
        """What a run said; None where nothing is kept."""

    def chapters(self, job_id: str | None = None) -> Sequence[Chapter]:
        """What was due when, by job, oldest first; removed jobs' too. The ledger is held against it."""

    def trim(self, keep: Keep, limit: int = 500) -> int:
        """Forget the oldest of what `rules.trim` lets go, with its runs and what they said; how many fires went.

        One short step of at most `limit` fires. It takes some jobs, and the next step, whoever takes it, those after
        them by id; where a step ends for want of `limit`, the next goes on with the same job.
        """

    def trims(self) -> Mapping[str, datetime]:
        """Up to which instant each job's ledger was trimmed: what was due until then may have no row any more."""

    def close(self) -> None:
        """Give back every connection. Closing twice is closing once."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one reconcile did: the ids it armed and disarmed, the orphans it found, and what is still wanted."""

    armed: tuple[str, ...] = ()
    disarmed: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()


class CronScheduler(Protocol):
    """Who wakes us: arms fires with the built-in ticker, NAS, or a plugin's service.

    `confirms` tells whether alarms are held outside this process: only then may the process sleep.
    """

    name: str
    confirms: bool

    def is_available(self) -> bool:
        """Whether it is configured well enough to work. Opens no connection (I8)."""

    def attach(self, store: Store) -> None:
        """Work for this store from now on: enough for a one-off command. Opens nothing, starts nothing."""

    def start(self, store: Store, broker: Broker) -> None:
        """Attach, begin to serve this process, reconcile fully, and return (I9)."""

    def stop(self) -> None:
        """End its threads, after one last try for what is still wanted. Stopping twice is stopping once."""

    def arm(self, job_id: str, within: float) -> bool:
        """Make what the store wants of this id true outside; False when it is still wanted after so many seconds.

        Also for an unknown id: that is disarmed. Arming the same fire twice is arming it once (I10).
        """

    def on_jobs_changed(self, job_ids: Collection[str]) -> Collection[str]:
        """Arm or disarm what these changes made wanted, and the ladder; the ids that are still wanted (I11)."""

    def reconcile(self, full: bool = False, cancel_orphans: bool = False) -> Reconciled:
        """Arm what is wanted, disarm what is not; `full` also repairs what the outside forgot or kept."""

    def held(self) -> Mapping[str, datetime | None] | None:
        """What is armed outside, by id; None where nothing outside holds alarms. An unreadable instant is None.

        Raises:
            NasError: It cannot be asked.
        """
