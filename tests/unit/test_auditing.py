"""An audit of a store reads a part of the ledger, and finds what one of all of it would."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_cron.auditing import audit_store
from hermes_cron.chapter import Chapter
from hermes_cron.errors import HermesCronError
from hermes_cron.fire import Fire
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import Entry, Keep
from hermes_cron.policy import Policy
from hermes_cron.rules import change
from hermes_cron.rules.audit import NO_OUTCOME, Audit, audit
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.rules.progress import begin, complete
from hermes_cron.run import RunState
from hermes_cron.schedule import Schedule
from hermes_cron.virtual.memory import MemoryStore
from tests.unit.parts import LEASE, NOON, FakeClock

HOUR = timedelta(hours=1)


class Read(MemoryStore):
    """A store that counts the rows of the ledger that it was asked for."""

    rows = 0

    def fires(self, *given: Any, **named: Any) -> Any:
        found = super().fires(*given, **named)
        self.rows += len(found)
        return found


class Past:
    """Jobs that fire every quarter of an hour, and somebody who works, sleeps, stops and removes them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Read(self.clock)
        self.manual = 0

    def add(self, job_id: str) -> None:
        job = Job(job_id, "task", Schedule("every", "every 15m"), policy=Policy(grace=600))
        self._try(job_id, partial(change.create, job=job))

    def work(self, job_id: str) -> None:
        run = self.store.change(job_id, partial(claim, fire=Fire(job_id), claimer=Claimer("w", LEASE))).run
        if run is not None:
            self.store.change(job_id, partial(begin, run=run, lease=LEASE))
            self.store.change(job_id, partial(complete, run=replace(run, state=RunState.SUCCEEDED)))

    def asked_and_cancelled(self, job_id: str) -> None:
        """A manual run that ends `cancelled`, as one does whose job is paused before it began."""
        self.manual += 1
        self._try(job_id, partial(change.run_now, uuid=str(self.manual)))
        self._try(job_id, change.pause)
        self._try(job_id, change.resume)

    def remove(self, job_id: str) -> None:
        self._try(job_id, change.remove)

    def _try(self, job_id: str, step: Any) -> None:
        try:
            self.store.change(job_id, step)
        except HermesCronError:
            return

    def whole(self, since: datetime, until: datetime) -> Audit:
        """The audit that reads everything; until now, as what is yet to come is not due."""
        until = min(until, self.clock.now)
        undecided = {record.job_id: record.job.next_fire_at for record in self.store.jobs() if record.job}
        entries = self.store.fires(limit=10**6)
        return audit(self.store.chapters(), entries, undecided, since, until, self.store.trims())


@settings(deadline=None)
@given(
    deeds=st.lists(
        st.tuples(
            st.sampled_from(["add", "work", "work", "work", "asked_and_cancelled", "remove"]),
            st.sampled_from("ab"), st.sampled_from([60, 900, 900, 4000, 40_000]),
        ),
        max_size=40,
    ),
    since=st.integers(0, 60), length=st.integers(0, 60), trimmed=st.booleans(),
    lost=st.none() | st.integers(0, 99),
)  # fmt: skip
def test_it_finds_what_an_audit_of_the_whole_ledger_finds(
    deeds: list[tuple[str, str, int]], since: int, length: int, trimmed: bool, lost: int | None
) -> None:
    past = Past()
    past.add("a")
    for deed, job_id, seconds in deeds:
        past.clock.advance(seconds)
        getattr(past, deed)(job_id)
    settled = past.store._settled
    if lost is not None and settled:
        del settled[list(settled)[lost % len(settled)]]
    if trimmed:
        past.store.trim(Keep(fires=3, span=2 * HOUR))
    begins = NOON + since * HOUR
    assert audit_store(past.store, begins, begins + length * HOUR) == past.whole(begins, begins + length * HOUR)


def test_it_reads_no_more_than_the_time_has_and_finds_a_row_that_reaches_into_it() -> None:
    past = Past()
    past.add("a")
    for _ in range(800):
        past.clock.advance(900)
        past.work("a")
    past.clock.advance(40 * 900)
    past.work("a")
    asleep = past.store.fires("a", limit=2)[1]
    assert asleep.count == 39
    for _ in range(20):
        past.asked_and_cancelled("a")
    until = past.clock.now
    past.store.rows = 0
    found = audit_store(past.store, asleep.fire_at + HOUR, until)
    assert found.findings == ()
    assert found.due > 30
    assert past.store.rows < 300
    row: Entry = past.store._settled.pop(("a", asleep.key))
    found = audit_store(past.store, row.fire_at + HOUR, until)
    assert {finding.problem for finding in found.findings} == {NO_OUTCOME}


def test_it_may_reach_to_the_end_of_time() -> None:
    past = Past()
    past.add("a")
    past.clock.advance(3600)
    past.work("a")
    last = datetime.max.replace(tzinfo=NOON.tzinfo)
    assert audit_store(past.store, NOON, past.clock.now).clean
    assert audit_store(past.store, NOON, last) == past.whole(NOON, past.clock.now), "what is yet to come is not due"
    assert audit_store(past.store, last - HOUR, last).due == 0


@settings(deadline=None)
@given(
    text=st.sampled_from(["every 15m", "*/20 * * * *", "0 2 * * *", "30 1 * * sun", "0 0 29 2 *", "in 3h", "every 1d"]),
    zone=st.sampled_from(["UTC", "Europe/Lisbon", "America/Sao_Paulo"]), anchor=st.sampled_from(["fire", "completion"]),
    jitter=st.sampled_from([0, 300]), start=st.integers(-10, 9000), length=st.integers(0, 3000),
    minutes=st.integers(0, 59),
)  # fmt: skip
def test_what_was_due_is_the_same_from_wherever_one_looks(
    text: str, zone: str, anchor: str, jitter: int, start: int, length: int, minutes: int
) -> None:
    plain = anchor == "fire" or text.startswith("every")
    schedule = Schedule.parse(text, timezone=zone, now=NOON, anchor=anchor if plain else "fire")
    policy = Policy(jitter=0 if schedule.kind == "once" else jitter)
    first = Job("a", "task", schedule, policy=policy).first_fire(NOON)
    chapter = Chapter("a", NOON, JobState.SCHEDULED, first, schedule, policy)
    begins = NOON + start * HOUR + timedelta(minutes=minutes)
    ends = begins + length * HOUR
    assert list(chapter.due_between(begins, ends)) == [at for at in chapter.due_between(NOON, ends) if at >= begins]
