"""`Held`: what NAS holds for one job of one agent, and what becomes of it. Pure: instants and chances are handed in.

    armed -> trying -> unsettled -> (gone)      the agent provisions or cancels the job: settled
    armed | trying | unsettled -> dead          kept with its reason until the agent provisions or cancels the job

A row whose delivery has begun and not ended is *in delivery*. That is known to the process that delivers, not to the
file: after a crash such a row is simply due, and delivered again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

PATIENCE = timedelta(days=7)
"""How long a delivery is tried for, and afterwards an answer waited for (contract, section 4)."""

FIRST_RETRY_S = 0.25
LONGEST_RETRY_S = 600.0
LONGEST_ASKED_S = 3600.0
"""The longest `Retry-After` that is obeyed: one absurd number must not end a schedule."""

AWAKE_RETRY_S = 30.0
"""An agent that says when to come back is awake, so it is asked again at least this often."""

LONGEST_SETTLE_S = 6 * 3600.0

REFUSALS = (400, 405, 413, 415)
"""Answers that the same body will get again for ever."""


class State(StrEnum):
    """Where an arm stands."""

    ARMED = "armed"
    TRYING = "trying"
    UNSETTLED = "unsettled"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Ask:
    """What an agent wants held: a fire of this job at this instant, sent to this URL."""

    job_id: str
    fire_at: datetime
    callback_url: str


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one attempt at delivery; `status` is None where no whole answer came."""

    status: int | None
    reason: str = ""
    retry_after: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the agent took the fire."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Held:
    """One arm that NAS holds.

    `due_at` is when something must be done about it next (None: nothing ever), `since` when its present trouble
    began: the first attempt that failed, or the first delivery that was not answered by an arm.
    """

    agent_id: int
    job_id: str
    schedule_id: str
    fire_at: datetime
    callback_url: str
    state: State = State.ARMED
    due_at: datetime | None = None
    since: datetime | None = None
    failures: int = 0
    deliveries: int = 0
    reason: str = ""


def provision(held: Held | None, ask: Ask, *, agent_id: int, in_delivery: bool, schedule_id: str) -> Held:
    """What is held after an agent asks: the same arm when it is still to come, else a new one by this `schedule_id`.

    The same instant asked for during or after its delivery is a new arm: the agent wants to be woken again.
    """
    if held is not None and held.state is State.ARMED and not in_delivery and held.fire_at == ask.fire_at:
        return replace(held, callback_url=ask.callback_url)
    return Held(agent_id, ask.job_id, schedule_id, ask.fire_at, ask.callback_url, due_at=ask.fire_at)


def after(held: Held, result: Result, now: datetime, *, settle: float, chance: float) -> Held | None:
    """What is held after one attempt that ended now; None: the row goes. `chance`, from 0 to 1, spreads the waits."""
    if result.ok:
        return _delivered(held, now, settle, chance)
    if result.status in REFUSALS:
        return bury(held, result.reason)
    since = held.since or now
    if now - since >= PATIENCE:
        return bury(held, result.reason)
    failures = held.failures + 1
    wait = retry_wait(failures, result.retry_after, chance)
    state = State.UNSETTLED if held.deliveries else State.TRYING
    return replace(
        held, state=state, since=since, failures=failures, reason=result.reason, due_at=now + timedelta(seconds=wait)
    )


def _delivered(held: Held, now: datetime, settle: float, chance: float) -> Held | None:
    if not settle:
        return None
    since = held.since if held.deliveries and held.since else now
    if now - since >= PATIENCE:
        return bury(held, "it was delivered again and again, and never answered by an arm or a cancel")
    deliveries = held.deliveries + 1
    wait = settle_wait(deliveries, settle, chance)
    return replace(
        held, state=State.UNSETTLED, since=since, failures=0, deliveries=deliveries, reason="",
        due_at=now + timedelta(seconds=wait),
    )  # fmt: skip


def bury(held: Held, reason: str) -> Held:
    """The arm, kept as dead for this reason."""
    return replace(held, state=State.DEAD, due_at=None, reason=reason)


def retry_wait(failures: int, retry_after: float | None, chance: float) -> float:
    """Seconds until the next attempt: quick at first, for a machine that is waking up, and never before it asks for."""
    longest = min(FIRST_RETRY_S * 2.0 ** min(failures - 1, 30), LONGEST_RETRY_S)
    wait = longest * (0.5 + chance / 2)
    if retry_after is None:
        return wait
    return max(min(retry_after, LONGEST_ASKED_S) * (1 + chance / 10), min(wait, AWAKE_RETRY_S))


def settle_wait(deliveries: int, settle: float, chance: float) -> float:
    """Seconds for which a delivered fire may stay unanswered before it is delivered again; never under `settle`."""
    longest = max(settle, LONGEST_SETTLE_S)
    return min(settle * 2.0 ** min(deliveries - 1, 30), longest) * (1 + chance / 10)
