"""The audit: every due fire has exactly one outcome, or it is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.job import Job
from hermes_cron.ledger import FireState
from hermes_cron.policy import Policy
from hermes_cron.rules import change
from hermes_cron.rules.audit import MISCOUNTED, NO_OUTCOME, NOT_DUE, TWO_OUTCOMES, Audit, audit
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.rules.progress import begin, complete
from hermes_cron.run import Run, RunState
from hermes_cron.schedule import Schedule
from hermes_cron.store import open_store

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)


class Hands:
    """A store with a clock that is set by hand, and somebody who works."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.store: Store = open_store(f"sqlite:///{folder}/a.db", clock=lambda: self.now)

    def add(self, schedule: str, anchor: str = "fire", **policy: object) -> None:
        parsed = Schedule.parse(schedule, now=self.now, anchor=anchor)
        job = Job("a", "task", parsed, policy=Policy.from_dict(policy))
        self.store.change("a", partial(change.create, job=job))

    def work(self, seconds: float = 0.0) -> Run | None:
        """Claim, begin and complete whatever is due."""
        fire, claimer = Fire("a"), Claimer("w", LEASE)
        run = self.store.change("a", partial(claim, fire=fire, claimer=claimer)).run
        if run is None:
            return None
        self.store.change("a", partial(begin, run=run, lease=LEASE))
        self.now += timedelta(seconds=seconds)
        self.store.change("a", partial(complete, run=replace(run, state=RunState.SUCCEEDED)))
        return run

    def audit(self, since: datetime = START) -> Audit:
        undecided = {record.job_id: record.job.next_fire_at for record in self.store.jobs() if record.job}
        return audit(self.store.chapters(), self.store.fires(limit=10_000), undecided, since, self.now)


@pytest.fixture
def hands(tmp_path: Path) -> Iterator[Hands]:
    made = Hands(tmp_path)
    yield made
    made.store.close()


def test_i12_a_job_that_ran_every_time_is_clean(hands: Hands) -> None:
    hands.add("every 10m")
    for _ in range(6):
        hands.now += timedelta(minutes=10)
        assert hands.work() is not None
    found = hands.audit()
    assert (found.due, found.settled, found.open, found.findings) == (6, 6, 0, ())


def test_i12_misfires_pauses_edits_and_a_removal_are_all_accounted_for(hands: Hands) -> None:
    hands.add("every 10m")
    hands.now += timedelta(hours=5)
    hands.work()
    hands.now += timedelta(minutes=25)
    hands.store.change("a", change.pause)
    hands.now += timedelta(hours=1)
    hands.store.change("a", change.resume)
    hands.now += timedelta(minutes=25)
    hands.work()
    moved = replace(hands.store.read("a").job, schedule=Schedule.parse("0 * * * *", now=hands.now))  # type: ignore[union-attr]
    hands.store.change("a", partial(change.edit, job=moved))
    hands.now += timedelta(hours=3)
    hands.work()
    hands.now += timedelta(hours=3)
    hands.store.change("a", change.remove)
    hands.now += timedelta(hours=3)
    found = hands.audit()
    assert found.findings == ()
    assert found.due == found.settled > 35


def test_i12_a_job_counted_from_its_completions_is_accounted_for(hands: Hands) -> None:
    hands.add("every 10m", anchor="completion")
    for seconds in (30, 90, 700):
        hands.now += timedelta(minutes=10)
        hands.work(seconds)
    found = hands.audit()
    assert (found.due, found.settled, found.findings) == (3, 3, ())


def test_i12_of_a_job_counted_from_its_completions_one_fire_is_due_however_late_it_is(hands: Hands) -> None:
    hands.add("every 10m", anchor="completion", grace=3600.0)
    hands.now += timedelta(minutes=35)
    run = hands.work(60)
    assert run is not None
    assert run.fire_at == START + timedelta(minutes=10)
    hands.now += timedelta(hours=3)
    assert hands.work() is None, "it is too late for this one"
    record = hands.store.read("a")
    assert record is not None
    assert record.job is not None
    assert record.job.next_fire_at == hands.now + timedelta(minutes=10)
    found = hands.audit()
    assert (found.due, found.settled, found.findings) == (2, 2, ())


def test_i14_repeat_ends_what_is_due(hands: Hands) -> None:
    hands.add("every 10m", repeat=2)
    for _ in range(4):
        hands.now += timedelta(minutes=10)
        hands.work()
    found = hands.audit()
    assert (found.due, found.findings) == (2, ())


def test_it_counts_what_nobody_has_decided_yet_as_open(hands: Hands) -> None:
    hands.add("every 10m")
    hands.now += timedelta(minutes=35)
    found = hands.audit()
    assert (found.due, found.settled, found.open, found.findings) == (3, 0, 3, ())


def test_it_names_a_fire_without_outcome_with_two_and_one_that_was_not_due(hands: Hands) -> None:
    hands.add("every 10m")
    for _ in range(4):
        hands.now += timedelta(minutes=10)
        hands.work()
    rows = sorted(hands.store.fires(), key=lambda entry: entry.fire_at)
    undecided = {"a": hands.store.read("a").job.next_fire_at}  # type: ignore[union-attr]  # it is there.
    chapters = hands.store.chapters()

    def problems(entries: list[object]) -> list[tuple[int, str]]:
        found = audit(chapters, entries, undecided, START, hands.now)  # type: ignore[arg-type]
        return [(round((f.fire_at - START).total_seconds() / 60), f.problem) for f in found.findings]

    assert problems([*rows]) == []
    assert problems(rows[1:]) == [(10, NO_OUTCOME)]
    assert problems([*rows, replace(rows[0], key="again")]) == [(10, TWO_OUTCOMES)]
    odd = replace(rows[0], key="odd", fire_at=START + timedelta(minutes=13))
    assert problems([*rows, odd]) == [(13, NOT_DUE)]
    ranged = replace(rows[0], last_at=rows[2].fire_at, count=2, state=FireState.MISSED)
    assert problems([ranged, rows[3]]) == [(10, MISCOUNTED)]
    assert problems([replace(ranged, count=3), rows[3]]) == []
