"""The ledger of every store, page by page: each fire once, in one order, at one price."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from hermes_cron.interfaces import Store
from hermes_cron.ledger import DEAD_LETTER, Entry, FireState, Place
from hermes_cron.record import Record
from hermes_cron.run import Run, RunState
from tests.conformance.test_store import HOUR, NOON, entry, job, put, run

OUTCOMES = [FireState.SUCCEEDED, FireState.FAILED, FireState.MISSED, FireState.SKIPPED, FireState.INTERRUPTED]
# Ids and keys that one order of letters sorts otherwise than another.
JOBS = ("a", "a.b", "a-b", "a:b", "B", "b", "c_", "failed")


@pytest.fixture
def store(any_store: Store) -> Store:
    return any_store


def keep(store: Store, job_id: str, entries: Sequence[Entry], runs: Sequence[Run] = ()) -> None:
    put(store, Record(job_id, job(job_id), entries=tuple(entries), runs=tuple(runs)))


def fill(store: Store) -> list[Entry]:
    """Eight jobs that fire at the same instants, in all states."""
    draw = random.Random(7)
    made: list[Entry] = []
    for job_id in JOBS:
        own = [
            replace(entry(job_id, f"{letter}{n}"), fire_at=NOON + n // 2 * HOUR, state=draw.choice(OUTCOMES))
            for n, letter in enumerate("AbcDeFgh")
        ]
        own[0] = replace(own[0], state=FireState.WAITING)
        own[1] = replace(own[1], state=FireState.RUNNING)
        keep(store, job_id, own)
        made += own
    return made


def walked(store: Store, limit: int, job_id: str | None = None, states: Collection[FireState] = ()) -> list[Entry]:
    """The ledger page by page, each begun behind the last of the one before."""
    found: list[Entry] = []
    while page := store.fires(job_id, limit, states, found[-1].place if found else None):
        assert len(page) <= limit
        found += page
    return found


@pytest.mark.parametrize("limit", [1, 3, 7, 64])
def test_pages_hold_every_fire_once_in_one_order_also_those_of_one_instant(store: Store, limit: int) -> None:
    made = fill(store)
    whole = list(store.fires(limit=1000))
    assert sorted(whole, key=repr) == sorted(made, key=repr)
    assert [e.fire_at for e in whole] == sorted((e.fire_at for e in made), reverse=True)
    assert walked(store, limit) == whole
    for job_id in (None, "a", "b", "failed", "nobody"):
        for states in ((), (FireState.FAILED,), DEAD_LETTER, (FireState.WAITING, FireState.RUNNING), set(OUTCOMES)):
            wanted = [e for e in whole if job_id in (None, e.job_id) and (not states or e.state in states)]
            assert walked(store, limit, job_id, states) == wanted, (job_id, states)


def test_what_comes_in_or_is_settled_meanwhile_moves_no_page(store: Store) -> None:
    fill(store)
    whole = list(store.fires(limit=1000))
    first = store.fires(limit=20)
    keep(store, "late", [entry("late", "k", fire_at=NOON + 99 * HOUR)])
    for job_id in JOBS:
        kept = store.read(job_id)
        assert kept is not None
        keep(store, job_id, [replace(e, state=FireState.SUCCEEDED) for e in kept.entries])
    behind = walked(store, 7)[len(first) + 1 :]
    rest = store.fires(limit=1000, before=first[-1].place)
    assert [e.place for e in [*first, *rest]] == [e.place for e in whole]
    assert list(rest) == behind
    assert not store.fires(states=[FireState.RUNNING, FireState.WAITING], before=first[-1].place)


def test_a_page_may_begin_where_no_fire_is_kept(store: Store) -> None:
    fill(store)
    whole = store.fires(limit=1000)
    between = Place(NOON + HOUR + timedelta(minutes=1), "gone", "key")
    assert store.fires(limit=1000, before=between) == [e for e in whole if e.fire_at <= NOON + HOUR]
    assert store.fires(before=Place(NOON - HOUR, "a", "k")) == []
    assert store.fires("a", 1000, before=between) == [e for e in whole if e.job_id == "a" and e.fire_at <= NOON + HOUR]
    other = store.fires("a", 1000, before=Place(NOON + HOUR, "b", "A0"))
    assert [e.fire_at for e in other if e.fire_at < NOON + HOUR] == [NOON, NOON]


def test_it_finds_one_fire_open_or_settled(store: Store) -> None:
    settled = entry("a", "k2", state=FireState.SUCCEEDED, settled_at=NOON)
    keep(store, "a", [entry("a", "k1"), settled])
    assert store.fire("a", "k1") == entry("a", "k1")
    assert store.fire("a", "k2") == settled
    assert store.fire("a", "k3") is None
    assert store.fire("b", "k1") is None
    assert store.fire("no\0body", "\ud800") is None


def test_it_finds_the_runs_of_fires_however_many_lie_between(store: Store) -> None:
    fires = [entry("a", key, attempts=2, fire_at=NOON + n * HOUR) for n, key in enumerate(("k", "k1", "k\x01", "l"))]
    own = [
        run("a", id=f"a:{n}{fire.key}", key=fire.key, fence=n, claimed_at=NOON, state=state)
        for fire in fires
        for n, state in enumerate((RunState.FAILED, RunState.STARTED))
    ]
    keep(store, "a", fires, own)
    keep(store, "b", [entry("b", "k", attempts=1)], [run("b", key="k")])

    def ids(*wanted: Entry) -> set[str]:
        return {found.id for found in store.runs_of(wanted)}

    assert ids(fires[0]) == {"a:0k", "a:1k"}
    assert ids(fires[2], entry("b", "k", attempts=1)) == {"a:0k\x01", "a:1k\x01", "b:1"}
    assert ids() == ids(entry("a", "m", attempts=3)) == set()
    many = [entry("a", f"none{n}", attempts=1) for n in range(1200)]
    assert ids(*many, *fires) == {r.id for r in own}
    ended = replace(own[1], state=RunState.SUCCEEDED)
    keep(store, "a", [], [ended])
    assert [found.state for found in store.runs_of([fires[0]]) if found.id == ended.id] == [RunState.SUCCEEDED]
