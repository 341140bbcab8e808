"""What every store promises, whatever it is made of."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from hermes_cron.arm import Arm
from hermes_cron.errors import StoreBusy, StoreError
from hermes_cron.interfaces import Load, Store
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import Entry, FireState
from hermes_cron.policy import Policy
from hermes_cron.record import Moment, Record
from hermes_cron.rules import change
from hermes_cron.run import Run, RunState
from hermes_cron.schedule import Schedule

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURLY = Schedule("cron", "0 * * * *", "Europe/Lisbon")
Step = Callable[[Record, Moment], tuple[Record, Any]]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
names = st.text("abcXYZ019._:@-", min_size=1, max_size=12)
instants = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
maybe = st.none() | instants
numbers = st.integers(0, 2**60)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(texts, plain, max_size=3)
schedules = st.sampled_from(
    [HOURLY, Schedule("every", "every 15m", anchor="completion"), Schedule("once", "2027-01-01T00:00:00+00:00")]
)
policies = st.builds(
    Policy, misfire=st.sampled_from(["run_latest", "run_all(7)", "skip"]), overlap=st.sampled_from(["skip", "allow"]),
    grace=st.none() | st.floats(0, 1000), timeout=st.none() | st.floats(1, 1000), repeat=st.none() | st.integers(1, 99),
    max_attempts=st.integers(1, 9), starts_at=st.none() | st.just(NOON), ends_at=st.none() | st.just(NOON + HOUR),
)  # fmt: skip
arms = st.builds(
    Arm, wake_at=maybe, armed_at=maybe, armed_for=maybe, known=st.booleans(), owner=st.none() | texts,
    owned_until=maybe, void=st.booleans(), named=st.lists(instants, max_size=3).map(tuple), refused=st.none() | texts,
)  # fmt: skip


def jobs(job_id: str) -> st.SearchStrategy[Job]:
    return st.builds(
        Job, st.just(job_id), texts, schedules, arguments, policies, st.sampled_from(JobState), created_at=maybe,
        next_fire_at=maybe, last_fire_at=maybe, counted=numbers, failures_in_row=numbers, fence=numbers,
        revision=numbers, scheduled_in=numbers, reason=texts,
    )  # fmt: skip


def runs(job_id: str) -> st.SearchStrategy[Run]:
    return st.builds(
        Run, names.map(lambda name: f"{job_id}/{name}"), st.just(job_id), texts, instants, numbers, numbers, texts,
        arguments, state=st.sampled_from(RunState), timeout=st.none() | st.floats(0, 1e9), worker=texts,
        claimed_at=maybe, started_at=maybe, ended_at=maybe, lease_until=maybe, guard_at=maybe, cancel=texts,
        error=texts, result=texts, manual=st.booleans(), deadline=maybe,
    )  # fmt: skip


def entries(job_id: str) -> st.SearchStrategy[Entry]:
    return st.builds(
        Entry, st.just(job_id), names, instants, st.sampled_from(FireState), manual=st.booleans(), last_at=maybe,
        count=st.none() | numbers, not_before=maybe, since=maybe, attempts=numbers, failures=numbers, deaths=numbers,
        counted=st.booleans(), reason=texts, settled_at=maybe,
    )  # fmt: skip


def records(job_id: str) -> st.SearchStrategy[Record]:
    return st.builds(
        Record, st.just(job_id), st.none() | jobs(job_id), arms,
        # A job's claims have each a fence of their own, by which its runs are in order.
        st.lists(runs(job_id), max_size=3, unique_by=(lambda r: r.id, lambda r: r.fence)).map(tuple),
        st.lists(entries(job_id), max_size=3, unique_by=lambda e: e.key).map(tuple),
    )  # fmt: skip


def put(store: Store, record: Record) -> None:
    store.change(record.job_id, lambda kept, moment: (record, None))


def job(job_id: str = "a", **changes: Any) -> Job:
    return Job(job_id, "app.task", HOURLY, **changes)


def run(job_id: str = "a", **changes: Any) -> Run:
    made = Run(f"{job_id}:1", job_id, "k", NOON, 1, 1, "app.task", {}, claimed_at=NOON)
    return replace(made, **changes)


def entry(job_id: str = "a", key: str = "k", **changes: Any) -> Entry:
    return replace(Entry(job_id, key, NOON, FireState.WAITING), **changes)


def raises_after(record: Record, error: Exception) -> Step:
    def step(kept: Record, moment: Moment) -> tuple[Record, None]:
        put_aside.append(record)
        raise error

    put_aside: list[Record] = []
    return step


def by_name(record: Record) -> Record:
    """The record as it is read: open runs and fires only, in one order."""
    kept_runs = sorted((r for r in record.runs if r.open), key=lambda r: r.id)
    kept_entries = sorted((e for e in record.entries if e.open), key=lambda e: e.key)
    return replace(record, runs=tuple(kept_runs), entries=tuple(kept_entries))


@pytest.fixture(scope="module")
def counter() -> list[int]:
    return [0]


@pytest.mark.timeout(900)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_it_keeps_every_field_of_a_record_and_of_what_it_becomes(
    store: Store, counter: list[int], data: st.DataObject
) -> None:
    counter[0] += 1
    job_id = f"job{counter[0]}"
    first = data.draw(records(job_id))
    put(store, first)
    assert by_name(store.read(job_id) or Record(job_id)) == by_name(first)
    assert {r.id: r for r in store.runs(job_id)} == {r.id: r for r in first.runs}
    assert {e.key: e for e in store.fires(job_id)} == {e.key: e for e in first.entries}
    second = data.draw(records(job_id))
    known = {r.id for r in first.runs if not r.open} | {e.key for e in first.entries if not e.open}
    second = replace(
        second,
        runs=tuple(r for r in second.runs if r.id not in known),
        entries=tuple(e for e in second.entries if e.key not in known),
    )
    put(store, second)
    merged = replace(second, runs=first.runs, entries=first.entries)
    for later in second.runs:
        merged = merged.with_run(later)
    for fire in second.entries:
        merged = merged.with_entry(fire)
    assert by_name(store.read(job_id) or Record(job_id)) == by_name(merged)


def test_it_hands_the_step_what_is_kept_and_its_own_time(store: Store) -> None:
    put(store, Record("a", job(), Arm(wake_at=NOON)))
    before = store.now()
    record, moment = store.change("a", lambda kept, moment: (kept, (kept, moment)))
    assert record == Record("a", job(), Arm(wake_at=NOON))
    assert before <= moment.now <= store.now()
    assert moment.now.utcoffset() == timedelta(0)
    assert not moment.stopped


def test_it_knows_nothing_of_an_id_that_was_never_kept(store: Store) -> None:
    assert store.change("nobody", lambda kept, moment: (kept, kept)) == Record("nobody")
    assert store.read("nobody") is None
    assert store.arms() == []
    assert store.read("no\0body\ud800") is None


def test_it_lets_out_what_a_step_raises_and_writes_nothing(store: Store) -> None:
    put(store, Record("a", job()))
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        store.change("a", raises_after(Record("a"), error))
    assert caught.value is error
    assert store.read("a") == Record("a", job())


def test_it_deletes_a_blank_record_and_keeps_its_ledger(store: Store) -> None:
    settled = entry(state=FireState.SUCCEEDED, settled_at=NOON)
    put(store, Record("a", job(), Arm(wake_at=NOON), entries=(settled,)))
    put(store, Record("a"))
    assert store.read("a") is None
    assert store.arms() == []
    assert store.fires() == [settled]


def test_it_keeps_a_sentinel_without_a_job(store: Store) -> None:
    put(store, Record("_wake.1", arm=Arm(wake_at=NOON)))
    assert store.read("_wake.1") == Record("_wake.1", arm=Arm(wake_at=NOON))
    assert [r.job_id for r in store.arms()] == ["_wake.1"]
    assert store.jobs() == []


def test_what_is_settled_is_in_the_ledger_and_no_longer_in_the_record(store: Store) -> None:
    put(store, Record("a", job(), runs=(run(),), entries=(entry(state=FireState.RUNNING),)))
    done = run(state=RunState.SUCCEEDED, ended_at=NOON, result="1")
    settled = entry(state=FireState.SUCCEEDED, settled_at=NOON)
    put(store, Record("a", job(), runs=(done,), entries=(settled,)))
    assert store.read("a") == Record("a", job())
    assert (store.runs(), store.fires()) == ([done], [settled])


@pytest.mark.parametrize("state", [FireState.WAITING, FireState.FAILED])
def test_i12_an_outcome_once_written_never_changes(store: Store, state: FireState) -> None:
    settled = entry(state=FireState.SUCCEEDED, settled_at=NOON)
    ended = run(state=RunState.SUCCEEDED, ended_at=NOON)
    put(store, Record("a", job(), runs=(ended,), entries=(settled,)))
    with pytest.raises(StoreError, match="has its outcome already"):
        put(store, Record("a", job(counted=9), entries=(entry(state=state),)))
    with pytest.raises(StoreError, match="has its outcome already"):
        put(store, Record("a", job(counted=9), runs=(run(),)))
    assert store.read("a") == Record("a", job())
    assert (store.runs(), store.fires()) == ([ended], [settled])


def test_it_keeps_what_a_database_cannot_as_a_question_mark(store: Store) -> None:
    put(store, Record("a", job(), runs=(run(error="a\0b\udcffc é"),)))
    assert [r.error for r in store.runs()] == ["a\ufffdb\ufffdc é"]


def test_it_lists_the_ledger_newest_first(store: Store) -> None:
    made = [entry("a", f"k{n}", fire_at=NOON + n * HOUR) for n in range(5)]
    put(store, Record("a", job(), entries=tuple(made)))
    put(store, Record("b", job("b"), entries=(entry("b", "k", fire_at=NOON + 9 * HOUR),)))
    assert [e.key for e in store.fires("a", limit=3)] == ["k4", "k3", "k2"]
    assert [e.job_id for e in store.fires(limit=2)] == ["b", "a"]
    put(store, Record("c", runs=tuple(run("c", id=f"c:{n}", fence=n, claimed_at=NOON + n * HOUR) for n in range(3))))
    assert [r.id for r in store.runs("c", limit=2)] == ["c:2", "c:1"]
    assert [r.id for r in store.runs(run_id="c:0")] == ["c:0"]
    assert store.runs("c", run_id="x") == []


def work_of(store: Store) -> datetime:
    """Five jobs and a sentinel: woken, to be woken, with a live run, with a dead one, removed."""
    now = store.now()
    soon, past = now + timedelta(seconds=30), now - HOUR
    put(store, Record("woken", job("woken", next_fire_at=past), Arm(wake_at=past, armed_for=past)))
    put(store, Record("soon", job("soon", next_fire_at=soon), Arm(wake_at=soon), entries=(entry("soon"),)))
    later = Arm(wake_at=now + HOUR, armed_for=now + HOUR)
    retry = entry("live", "r", not_before=soon)
    put(store, Record("live", job("live"), later, (run("live", lease_until=now + HOUR),), (retry,)))
    put(store, Record("dead", job("dead"), later, (run("dead", lease_until=past - HOUR),)))
    put(store, Record("gone", job("gone", state=JobState.REMOVED), Arm(known=False)))
    put(store, Record("_wake.1", arm=Arm(wake_at=past)))
    return past


def test_it_answers_what_is_overdue_wanted_and_due(store: Store) -> None:
    past = work_of(store)
    assert store.overdue(10) == ["dead", "woken"]
    assert store.overdue(1) == ["dead"]
    assert store.wanted(10) == ["_wake.1", "soon", "gone"]
    assert store.wanted(1) == ["_wake.1"]
    assert store.next_wake() == past
    assert store.load(60) == Load(open_runs=1, dead_leases=1, waiting=1, due=3, wanted_arms=3)
    assert store.load(1).due == 1
    assert [r.job_id for r in store.jobs()] == ["dead", "live", "soon", "woken"]
    assert [r.job_id for r in store.arms()] == ["_wake.1", "dead", "gone", "live", "soon", "woken"]
    assert store.jobs()[1] == store.read("live")


def test_while_stopped_only_disarms_are_wanted_and_nothing_is_due(store: Store) -> None:
    work_of(store)
    store.set_stopped(True)
    assert store.stopped()
    assert store.change("a", lambda kept, moment: (kept, moment.stopped))
    assert (store.overdue(10), store.wanted(10), store.next_wake()) == ([], ["gone"], None)
    # What nobody may start or take over keeps nobody awake; a live run and a disarm do.
    assert store.load(60) == Load(open_runs=1, wanted_arms=1)
    store.set_stopped(False)
    assert (store.stopped(), len(store.wanted(10))) == (False, 3)
    assert store.load(60).total == 9


def test_i15_a_stop_waits_for_every_change_that_had_not_heard_of_it(place: Any) -> None:
    store, other = place.open(deadline=60), place.open(deadline=60)

    def ordered() -> bool:
        inside, go_on, order = threading.Event(), threading.Event(), []

        def begin(kept: Record, moment: Moment) -> tuple[Record, bool]:
            inside.set()
            go_on.wait(60)
            order.append("begun")
            return replace(kept, job=job()), moment.stopped

        def stop() -> None:
            other.set_stopped(True)
            order.append("stopped")

        other.set_stopped(False)
        beginner = threading.Thread(target=store.change, args=("a", begin))
        beginner.start()
        assert inside.wait(60)
        stopper = threading.Thread(target=stop)
        stopper.start()
        stopper.join(0.2)
        go_on.set()
        beginner.join()
        stopper.join()
        return order == ["begun", "stopped"]

    # In Redis a change has one second, after which it begins anew: a busy machine may hold up one try, hardly all.
    assert any(ordered() for _ in range(5))
    assert store.change("a", lambda kept, moment: (kept, moment.stopped))


def test_a_job_that_is_held_for_too_long_is_busy(store: Store, place: Any) -> None:
    hurried = place.open(deadline=0.3)
    met: list[StoreError] = []

    def slow(kept: Record, moment: Moment) -> tuple[Record, None]:
        try:
            hurried.change("a", lambda kept, moment: (kept, None))
        except StoreError as error:
            met.append(error)
        return replace(kept, job=job()), None

    def busy() -> bool:
        with contextlib.suppress(StoreError):
            hurried.now()
        store.change("a", slow)
        return any(isinstance(error, StoreBusy) and "was held by somebody else" in str(error) for error in met)

    # On a busy machine it may be the connection that takes too long, or, in Redis, the second of a change that is over.
    assert any(busy() for _ in range(5)), met
    assert store.change("a", lambda kept, moment: (kept, kept.job)) == job()


@pytest.mark.timeout(900)  # Each job is a commit of its own, which a busy disk takes its time for.
def test_the_cost_of_a_question_does_not_grow_with_the_number_of_jobs(store: Store) -> None:
    def cost() -> list[int]:
        counts = []
        questions: list[Callable[[], object]] = [
            store.jobs, store.arms, store.next_wake, store.stopped,
            lambda: store.load(60), lambda: store.overdue(5), lambda: store.wanted(5), lambda: store.read("j1"),
        ]  # fmt: skip
        for question in questions:
            asked.clear()
            question()
            counts.append(len(asked))
        return counts

    asked: list[str] = []

    def note(connection: object, cursor: object, statement: str, *others: object) -> None:
        asked.append(statement)

    put(store, Record("j0", job("j0"), Arm(wake_at=NOON)))
    event.listen(Engine, "before_cursor_execute", note)
    try:
        few = cost()
        for n in range(1, 1100):
            put(store, Record(f"j{n}", job(f"j{n}"), Arm(wake_at=NOON)))
        assert cost() == few
        assert len(store.jobs()) == 1100
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_closing_twice_is_closing_once_and_what_was_written_stays(store: Store, place: Any) -> None:
    put(store, Record("a", job()))
    store.close()
    store.close()
    assert place.open().read("a") == Record("a", job())


def test_i12_it_tells_what_was_due_when_also_of_a_job_that_is_gone(store: Store) -> None:
    store.change("a", partial(change.create, job=Job("a", "task", HOURLY)))
    store.change("a", change.pause)
    store.change("a", change.resume)
    store.change("a", change.remove)
    told = store.chapters("a")
    assert [chapter.state for chapter in told] == ["scheduled", "paused", "scheduled", "removed"]
    assert [chapter.next_fire_at is None for chapter in told] == [False, True, False, True]
    assert [chapter.at for chapter in told] == sorted(chapter.at for chapter in told)
    assert store.chapters("b") == []
    assert list(store.chapters()) == list(told)
