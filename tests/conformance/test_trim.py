"""What the ledger of every store may forget, what it must not, and that forgetting changes nothing else."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes_cron.arm import Arm
from hermes_cron.clock import EPOCH
from hermes_cron.errors import StoreError
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.job import Job
from hermes_cron.ledger import Entry, FireState, Keep, scheduled_key
from hermes_cron.output import Line, Output
from hermes_cron.record import Record
from hermes_cron.rules import change
from hermes_cron.rules.audit import audit
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.rules.progress import begin, complete
from hermes_cron.rules.trim import last_instant, to_trim
from hermes_cron.run import Run, RunState
from hermes_cron.schedule import Schedule
from tests.conformance.test_store import HOURLY, entry, job, put, run

pytestmark = pytest.mark.timeout(400)  # Many commits, on a disk that may be busy.

DAY = timedelta(days=1)
LEASE = timedelta(seconds=30)
AT_ONCE = Keep(fires=1, span=timedelta(0))
"""Keeps the newest fire of a job, and nothing for its age: what is settled can be trimmed at once."""


@pytest.fixture
def store(any_store: Store) -> Store:
    return any_store


def keep_fires(store: Store, job_id: str, entries: Sequence[Entry], runs: Sequence[Run] = ()) -> None:
    put(store, Record(job_id, job(job_id), entries=tuple(entries), runs=tuple(runs)))


def old(store: Store, job_id: str, days: float, state: FireState = FireState.SUCCEEDED, **more: object) -> Entry:
    """A fire that was due and settled so many days ago."""
    at = store.now() - days * DAY
    made = entry(job_id, scheduled_key(at), fire_at=at, state=state, attempts=1)
    return replace(made, **({"settled_at": None if made.open else at} | more))  # type: ignore[arg-type]


def trimmed(store: Store, keep: Keep, limit: int = 500) -> int:
    """Trim until a whole round finds nothing; how many fires went."""
    went = idle = 0
    while idle < 3:
        step = store.trim(keep, limit)
        assert step <= limit
        went, idle = went + step, 0 if step else idle + 1
    return went


def keys(store: Store, job_id: str) -> list[str]:
    return [found.key for found in store.fires(job_id, limit=10_000)]


def remove(store: Store, job_id: str) -> None:
    """Make the job one that is gone, as if for ever."""
    put(store, Record(job_id))
    assert store.read(job_id) is None


def test_it_keeps_the_newest_of_each_job_and_what_was_settled_lately(store: Store) -> None:
    fires = [old(store, "a", days) for days in (1, 80, 100, 101, 102)]
    keep_fires(store, "a", fires)
    keep_fires(store, "b", seldom := [old(store, "b", days) for days in (900, 1000, 1100)])
    assert trimmed(store, Keep(fires=3, span=90 * DAY)) == 2
    assert keys(store, "a") == [fire.key for fire in fires[:3]]
    assert keys(store, "b") == [fire.key for fire in seldom]
    assert trimmed(store, Keep(fires=1, span=90 * DAY)) == 3
    assert keys(store, "a") == [fire.key for fire in fires[:2]]
    assert store.trims().keys() == {"a", "b"}
    assert store.trims()["a"] == fires[2].fire_at


def test_i12_what_is_open_is_never_trimmed_however_old(store: Store) -> None:
    waits, runs = old(store, "a", 400, FireState.WAITING), old(store, "a", 399, FireState.RUNNING)
    keep_fires(store, "a", [waits, runs, old(store, "a", 398), old(store, "a", 1)], [run("a", key=runs.key)])
    assert trimmed(store, AT_ONCE) == 1
    record = store.read("a")
    assert record is not None
    assert {e.key for e in record.entries} == {waits.key, runs.key}
    assert [r.key for r in record.runs] == [runs.key]


def test_i12_a_fire_that_was_due_long_ago_and_settled_lately_stays(store: Store) -> None:
    late = old(store, "a", 300, FireState.MISSED, settled_at=store.now() - DAY)
    unknown = old(store, "a", 301, FireState.MISSED, settled_at=None)
    keep_fires(store, "a", [late, unknown, old(store, "a", 299), *(old(store, "a", n) for n in (1, 2, 3))])
    assert trimmed(store, Keep(fires=1, span=90 * DAY)) == 1
    assert {late.key, unknown.key} < set(keys(store, "a"))


def test_dead_letters_of_a_job_stay_however_old_but_for_those_beside_very_many(store: Store) -> None:
    dead = [old(store, "a", 500 + n, FireState.FAILED if n % 2 else FireState.INTERRUPTED) for n in range(6)]
    keep_fires(store, "a", [*dead, *(old(store, "a", 400 + n) for n in range(9)), old(store, "a", 1)])
    assert trimmed(store, Keep(fires=1, span=90 * DAY)) == 9
    assert [found.key for found in store.fires("a", states=[FireState.FAILED, FireState.INTERRUPTED])] == [
        fire.key for fire in dead
    ]
    assert trimmed(store, Keep(fires=1, span=90 * DAY, dead=4)) == 2
    assert [found.key for found in store.fires("a")][1:] == [fire.key for fire in dead[:4]]


def test_nothing_is_trimmed_where_all_is_kept_for_ever(store: Store) -> None:
    keep_fires(store, "a", [old(store, "a", 1000 + n) for n in range(5)])
    assert trimmed(store, Keep(fires=0)) == 0
    assert store.trim(AT_ONCE, 0) == 0
    assert len(keys(store, "a")) == 5
    assert store.trims() == {}


def test_of_a_job_that_is_gone_only_the_time_counts_and_then_nothing_is_left_of_it(store: Store) -> None:
    fires = [old(store, "a", 100, FireState.FAILED), old(store, "a", 99), old(store, "a", 1)]
    keep_fires(store, "a", fires, [run("a", key=fires[0].key, state=RunState.FAILED, attempt=1)])
    remove(store, "a")
    assert trimmed(store, Keep(fires=100, span=90 * DAY)) == 2
    assert keys(store, "a") == [fires[2].key]
    assert store.chapters("a") != []
    assert trimmed(store, AT_ONCE) == 1
    assert (store.fires(), store.runs(), store.chapters(), store.trims()) == ([], [], [], {})


def test_runs_and_what_they_said_go_with_their_fire_and_no_others(store: Store) -> None:
    fires = [old(store, "a", days) for days in (100, 99, 1)]
    runs = [
        run("a", id=f"a:{n}", key=fire.key, fence=n, state=RunState.SUCCEEDED, claimed_at=fire.fire_at)
        for n, fire in enumerate((fires[0], *fires))
    ]
    keep_fires(store, "a", fires, runs)
    keep_fires(store, "b", [replace(fire, job_id="b") for fire in fires[2:]], [run("b", key=fires[0].key)])
    said = Output((Line(store.now(), "stdout", "hello"),))
    for made in runs:
        store.keep_output(made, said)
    assert trimmed(store, AT_ONCE) == 2
    assert {found.id for found in store.runs()} == {"a:3", "b:1"}
    assert {found.id for found in store.runs_of([*fires, replace(fires[0], job_id="b")])} == {"a:3", "b:1"}
    assert [store.output(made.id) is None for made in runs] == [True, True, True, False]
    assert store.runs(run_id="a:0") == []


def test_a_step_is_bounded_and_the_next_goes_on_whoever_takes_it(store: Store) -> None:
    for name in "abc":
        keep_fires(store, name, [old(store, name, 100 + n) for n in range(20)])
    steps = [store.trim(AT_ONCE, 7) for _ in range(12)]
    assert max(steps) == 7
    assert sum(steps) == 57
    assert trimmed(store, AT_ONCE) == 0
    assert [len(keys(store, name)) for name in "abc"] == [1, 1, 1]


def test_every_job_has_its_turn_though_others_have_nothing_to_trim(store: Store) -> None:
    for n in range(120):
        keep_fires(store, f"j{n:03}", [old(store, f"j{n:03}", days) for days in ((100, 99) if n == 117 else (1,))])
    assert sum(store.trim(AT_ONCE) for _ in range(4)) == 1
    assert len(keys(store, "j117")) == 1


def test_an_outcome_that_was_trimmed_leaves_i12_to_the_rest(store: Store) -> None:
    fires = [old(store, "a", days) for days in (100, 1)]
    keep_fires(store, "a", fires)
    assert trimmed(store, AT_ONCE) == 1
    with pytest.raises(StoreError, match="has its outcome already"):
        keep_fires(store, "a", [replace(fires[1], state=FireState.WAITING)])


def test_i13_the_message_of_a_trimmed_fire_changes_nothing(store: Store) -> None:
    now = store.now()
    kept = Job("a", "task", Schedule("cron", "30 3 29 2 *"), next_fire_at=now - timedelta(seconds=1))
    put(store, Record("a", replace(kept, fence=3), Arm(wake_at=kept.next_fire_at)))
    step = partial(claim, fire=Fire("a", kept.next_fire_at), claimer=Claimer("w", LEASE))
    granted = store.change("a", step).run
    assert granted is not None
    store.change("a", partial(begin, run=granted, lease=LEASE))
    store.change("a", partial(complete, run=replace(granted, state=RunState.SUCCEEDED)))
    keep_later = old(store, "a", -1, FireState.SKIPPED)
    store.change("a", lambda record, moment: (replace(record, entries=(keep_later,)), None))
    assert trimmed(store, Keep(fires=1, span=-2 * DAY)) == 1
    assert store.fire("a", granted.key) is None
    before = store.read("a")
    answer = store.change("a", step)
    assert (answer.run, answer.reason) == (None, "duplicate")
    after = store.read("a")
    assert before is not None
    assert after is not None
    assert replace(after, arm=before.arm) == before, "but for the alarm that it spent"
    assert keys(store, "a") == [keep_later.key]


def test_the_audit_tells_what_was_trimmed_from_what_was_lost(store: Store) -> None:
    start = store.now() - 10 * DAY
    hours = [start + n * timedelta(hours=1) for n in range(1, 201)]
    hours = [at.replace(minute=0, second=0, microsecond=0) for at in hours]
    made = Job("a", "task", HOURLY, next_fire_at=hours[-1] + timedelta(hours=1))
    fires = [Entry("a", scheduled_key(at), at, FireState.SUCCEEDED, settled_at=at) for at in hours]
    lost = fires.pop(150)
    put(store, Record("a", made, entries=tuple(fires)))
    (told,) = store.chapters("a")
    chapters = [replace(told, at=start, next_fire_at=hours[0])]

    def problems() -> list[tuple[datetime, str]]:
        found = audit(chapters, store.fires(limit=1000), {}, start, hours[-1], store.trims())
        return [(finding.fire_at, finding.problem) for finding in found.findings]

    assert problems() == [(lost.fire_at, "no outcome")]
    assert trimmed(store, Keep(fires=80, span=timedelta(0))) == 119
    assert problems() == [(lost.fire_at, "no outcome")], "and nothing else, though over a hundred are not kept"
    found = audit(chapters, store.fires(limit=1000), {}, start, hours[-1], store.trims())
    assert found.begins == (("a", hours[118] + timedelta(microseconds=1)),)
    assert (found.due, found.settled) == (81, 80)
    assert trimmed(store, Keep(fires=10, span=timedelta(0))) == 70
    assert problems() == [], "the one that was lost lies before the kept ledger now"
    assert audit(chapters, store.fires(limit=1000), {}, hours[195], hours[-1], store.trims()).begins == ()


def test_chapters_go_that_were_over_before_the_kept_ledger_begins(store: Store) -> None:
    store.change("a", partial(change.create, job=Job("a", "task", HOURLY)))
    for _ in range(5):
        store.change("a", change.pause)
        store.change("a", change.resume)
    assert len(store.chapters("a")) == 11
    settled = store.chapters("a")[-1].at
    store.change("a", change.pause)
    fires = [entry("a", f"k{n}", fire_at=settled + n * DAY, state=FireState.MISSED, settled_at=EPOCH) for n in (0, 1)]
    store.change("a", lambda record, moment: (replace(record, entries=tuple(fires)), None))
    assert trimmed(store, Keep(fires=1, span=-2 * DAY)) == 1
    assert [str(chapter.state) for chapter in store.chapters("a")] == ["scheduled", "paused"]
    assert store.trims() == {"a": fires[0].fire_at}


fires_of_a_job = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(FireState), st.sampled_from([None, 0, 1, 5]), st.booleans()),
    max_size=25,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    drawn=st.lists(fires_of_a_job, min_size=1, max_size=6),
    gone=st.booleans(),
    keep=st.builds(Keep, st.integers(1, 6), st.sampled_from([2 * DAY, 6 * DAY]), st.integers(1, 3)),
    limit=st.sampled_from([5, 500]),
)
def test_it_trims_what_the_rule_says_and_nothing_else(
    store: Store, counter: list[int], drawn: list[list[tuple[int, FireState, int | None, bool]]], gone: bool,
    keep: Keep, limit: int,
) -> None:  # fmt: skip
    counter[0] += 1
    now, made = store.now(), defaultdict[str, list[Entry]](list)
    for number, several in enumerate(drawn):
        name = f"job{counter[0]}.{number}"
        for n, (days, state, later, ranged) in enumerate(several):
            # Half a day off the bounds, so that the time the test takes moves nothing over one.
            at = now - (days + 0.5) * DAY
            settled = None if later is None or state in (FireState.WAITING, FireState.RUNNING) else at + later * DAY
            last = at + timedelta(hours=1) if ranged else None
            made[name].append(replace(entry(name, f"k{n}"), fire_at=at, state=state, settled_at=settled, last_at=last))
        open_fires = any(fire.open for fire in made[name])
        keep_fires(store, name, made[name])
        if gone and not open_fires:
            remove(store, name)
    before = store.trims()
    trimmed(store, keep, limit)
    marks = store.trims()
    for name, fires in made.items():
        went = to_trim(fires, keep, now, gone=gone and not any(fire.open for fire in fires))
        assert set(keys(store, name)) == {fire.key for fire in fires} - {fire.key for fire in went}
        assert marks.get(name) == max((last_instant(fire) for fire in went), default=before.get(name))


@pytest.fixture(scope="module")
def counter() -> list[int]:
    return [0]


def test_many_who_trim_and_claim_at_once_trim_each_fire_once_and_lose_none(store: Store) -> None:
    for name in "ab":
        keep_fires(store, name, [old(store, name, 100 + n / 1000) for n in range(400)])
    went, wrong = list[int](), list[BaseException]()

    def trim() -> None:
        try:
            went.extend(store.trim(AT_ONCE, 30) for _ in range(12))
        except BaseException as error:
            wrong.append(error)

    def settle(name: str) -> None:
        try:
            for n in range(20):
                made = entry(name, f"new{n}", fire_at=store.now(), state=FireState.SUCCEEDED, settled_at=store.now())
                store.change(name, lambda record, moment, made=made: (replace(record, entries=(made,)), None))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=trim) for _ in range(4)]
    threads += [threading.Thread(target=settle, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    went.append(trimmed(store, AT_ONCE))
    left = [len(keys(store, name)) for name in "ab"]
    assert sum(went) + sum(left) == 840
    assert all(1 <= number <= 2 for number in left), "the newest, or two of one instant"
