"""The book of arms: what is taken when, and what the end of a delivery may change."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

from hermes_cron.nas.held import Result, State
from tests.unit.nas.world import NOON, World, world

OK = Result(202)
DOWN = Result(503, "the agent answered 503", 5.0)


def test_it_takes_what_is_due_once_and_earliest_first(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        for job_id, seconds in (("b", 10), ("a", 20), ("c", 30)):
            it.arm(1, job_id, seconds)
        assert it.taken() == []
        assert it.book.next_due(it.clock.now) == NOON + timedelta(seconds=10)
        it.clock.move(20)
        assert it.taken() == ["b", "a"]
        assert it.taken() == []
        assert it.book.next_due(it.clock.now) == NOON + timedelta(seconds=30)


def test_it_takes_an_instant_exactly(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        it.arm(1, "a", 1)
        it.clock.move(0.999999)
        assert it.taken() == []
        it.clock.move(0.000001)
        assert it.taken() == ["a"]


def test_one_agent_never_takes_all_places(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        for n in range(50):
            it.arm(1, f"a{n:02}", -100 + n)
        for n in range(3):
            it.arm(2, f"b{n}", -1)
        first = it.book.take(it.clock.now, 6, 4)
        assert [due.agent.id for due in first] == [1, 1, 1, 1, 2, 2]
        assert it.taken(0) == []
        assert it.taken(10, 4) == ["b2"]
        it.book.release(first[0].held)
        assert it.taken(10, 4) == ["a00"], "it is due still, as nothing was written about it"


def test_the_last_places_are_for_agents_that_have_none(tmp_path: Path) -> None:
    with world(tmp_path, agents=5) as it:
        for agent in range(1, 5):
            for n in range(9):
                it.arm(agent, f"{n}", -100 + n)
        it.arm(5, "last", -1)
        first = it.book.take(it.clock.now, 10, 4, 3)
        assert Counter(due.agent.id for due in first) == {1: 2, 2: 2, 3: 2, 4: 1, 5: 1}
        it.book.release(first[0].held)
        assert it.book.take(it.clock.now, 1, 4, 3) == [], "they all have one"
        assert it.book.take(it.clock.now, 4, 4, 3) != []


def test_what_is_behind_a_long_backlog_is_found_at_the_cost_of_what_is_behind_a_short_one(tmp_path: Path) -> None:
    cost = {}
    for backlog in (20, 4000):
        with world(tmp_path / str(backlog), quota=9999) as it:
            it.book.provision(1, [it.ask(f"{n}", -100) for n in range(backlog)])
            it.arm(2, "behind", -1)
            with counted(it.database.read) as read:
                assert it.taken(64, 16).count("behind") == 1
                assert it.taken(40, 16) == []
            with counted(it.database.change) as written:
                it.arm(1, "one more")
            cost[backlog] = (read[0], written[0])
    for short, long in zip(*cost.values(), strict=True):
        assert long < 3 * short, f"{cost}: it grows with what the agent has"


@contextmanager
def counted(open_: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> Iterator[list[int]]:
    """How many tens of SQLite's instructions what is done takes on one of the connections."""
    count = [0]

    def tick() -> None:
        count[0] += 1

    with open_() as connection:
        connection.set_progress_handler(tick, 10)
    yield count
    with open_() as connection:
        connection.set_progress_handler(None, 0)


def test_what_is_in_delivery_is_known_until_it_is_released(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        it.arm(1, "a")
        (due,) = it.book.take(it.clock.now, 1, 1)
        assert it.book.delivering(due.held)
        assert it.book.in_delivery() == 1
        it.book.release(due.held)
        it.book.release(due.held)
        assert not it.book.delivering(due.held)
        assert it.book.in_delivery() == 0


def test_a_delivery_ends_where_nothing_changed(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        it.arm(1, "a")
        (due,) = it.book.take(it.clock.now, 1, 1)
        assert it.book.stands(due.held)
        held = it.book.finish(due.held, OK)
        assert held is not None
        assert (held.state, held.due_at) == (State.UNSETTLED, NOON + timedelta(seconds=60))
        it.book.release(due.held)
        assert it.taken() == []
        it.clock.move(60)
        assert it.taken() == ["a"]


def test_a_delivery_changes_nothing_where_its_arm_was_replaced(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        for asked_again in (0.0, 500.0):
            it.arm(1, "a")
            (due,) = it.book.take(it.clock.now, 1, 1)
            new = it.arm(1, "a", asked_again)
            assert new != due.held.schedule_id
            assert not it.book.stands(due.held)
            for result in (OK, DOWN, Result(400, "no")):
                assert it.book.finish(due.held, result) is None
            it.book.release(due.held)
            (row,) = it.book.listed(1)
            assert (row.schedule_id, row.state) == (new, State.ARMED)


def test_a_new_arm_of_the_same_key_is_taken_beside_the_delivery(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        it.arm(1, "a")
        assert it.taken() == ["a"]
        it.arm(1, "a")
        assert it.taken() == ["a"]


def test_a_cancel_ends_it_in_every_state(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        for result in (OK, DOWN, Result(400, "no")):
            it.arm(1, "a")
            (due,) = it.book.take(it.clock.now, 1, 1)
            it.book.finish(due.held, result)
            it.book.release(due.held)
            it.book.cancel(1, ["a", "unknown"])
            assert it.agents.listed()[0].arms == {}
            assert it.book.finish(due.held, result) is None


def test_after_a_crash_all_that_was_under_way_is_due(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        it.arm(1, "in delivery")
        it.arm(1, "unsettled")
        it.arm(1, "trying")
        for due in it.book.take(it.clock.now, 9, 9):
            if due.held.job_id != "in delivery":
                it.book.finish(due.held, OK if due.held.job_id == "unsettled" else DOWN)
    again = World(tmp_path, agents=0)
    assert again.taken() == ["in delivery"]
    again.clock.move(6)
    assert again.taken() == ["trying"]
    again.clock.move(60)
    assert again.taken() == ["unsettled"]
    again.database.close()


def test_it_lists_what_is_to_come_and_what_is_dead_by_agent_and_page(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        for job_id in ("c", "a", "b", "dead", "trying", "unsettled"):
            it.arm(1, job_id, 0 if len(job_id) > 1 else 100)
        it.arm(2, "other", 100)
        for due in it.book.take(it.clock.now, 9, 9):
            result = {"dead": Result(400, "no"), "trying": DOWN}.get(due.held.job_id, OK)
            it.book.finish(due.held, result)
        assert [held.job_id for held in it.book.listed(1)] == ["a", "b", "c", "dead"]
        assert [held.job_id for held in it.book.listed(1, beyond="a", limit=2)] == ["b", "c"]
        assert [held.job_id for held in it.book.listed(2)] == ["other"]


def test_over_its_quota_an_agent_may_change_but_not_add(tmp_path: Path) -> None:
    with world(tmp_path, quota=2) as it:
        got = it.book.provision(1, [it.ask("a"), it.ask("b"), it.ask("c"), it.ask("a", 9)])
        assert [held and held.job_id for held in got] == ["a", "b", None, "a"]
        it.arm(2, "a")


def test_a_revoked_agent_has_nothing_due(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        it.arm(1, "a")
        it.arm(1, "b")
        (due,) = it.book.take(it.clock.now, 1, 1)
        it.agents.revoke("agent1")
        assert it.taken() == []
        assert not it.book.stands(due.held)
        end = it.book.finish(due.held, OK)
        assert end is not None
        assert (end.state, end.reason) == (State.DEAD, "the agent was revoked")
        it.arm(1, "late", 0)
        assert it.taken() == [], "a call that was under way when it was revoked arms nothing that is sent"


def test_hurry_brings_a_retry_forward_and_nothing_else(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        future = it.arm(1, "future", 100)
        tried = it.arm(1, "tried")
        (due,) = it.book.take(it.clock.now, 1, 1)
        it.book.finish(due.held, DOWN)
        it.book.release(due.held)
        assert it.book.hurry("unknown") is None
        assert it.book.hurry(future) is not None
        assert it.taken() == []
        assert it.book.hurry(tried) is not None
        assert it.taken() == ["tried"]
