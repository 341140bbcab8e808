"""What the code declares, put into the store: new, changed, or as it was."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from hermes_cron.app import Declared, HermesCron
from hermes_cron.errors import HermesCronError, ScheduleError
from tests.unit.counter import Counter


def declared(**changes: Any) -> Declared:
    return Declared(**{"id": "a", "task": "tide", "schedule": "every 15m", **changes})


def test_puts_new_jobs_into_the_store(counter: Counter) -> None:
    assert counter.client.declare([declared(), declared(id="b")]) == ["a", "b"]
    assert [record.job_id for record in counter.client.list()] == ["a", "b"]
    assert counter.job().schedule.timezone == "Europe/Lisbon"


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"schedule": "  every   15m "}, {"args": {"place": (1, 2)}}, {"args": {"place": {"a": 1.0}}},
        {"policy": {"misfire": "run_all(3)"}}, {"policy": {"starts_at": "2026-08-01T00:00:00Z"}},
        {"timezone": "Asia/Tokyo"}, {"anchor": "completion"}, {"schedule": "in 30m"}, {"schedule": "@daily"},
    ],
)  # fmt: skip
def test_declaring_again_changes_nothing(counter: Counter, changes: dict[str, Any]) -> None:
    counter.client.declare([declared(**changes)])
    before = counter.job()
    for _ in range(3):
        counter.clock.advance(100)
        assert counter.client.declare([declared(**changes)]) == []
    assert counter.job() == before


def test_the_code_wins_over_edits(counter: Counter) -> None:
    counter.client.declare([declared()])
    counter.client.update("a", schedule="every 1h", policy={"grace": 5.0}, args={"place": "x"})
    assert counter.client.declare([declared()]) == ["a"]
    job = counter.job()
    assert (job.schedule.source, job.args, job.policy.to_dict()) == ("every 15m", {}, {})
    assert counter.client.declare([declared()]) == []


def test_a_pause_stays(counter: Counter) -> None:
    counter.client.declare([declared()])
    counter.client.pause("a")
    counter.client.declare([declared(policy={"grace": 5.0})])
    assert (counter.job().state, counter.job().policy.grace) == ("paused", 5.0)


def test_in_30m_does_not_move_when_another_part_changes(counter: Counter) -> None:
    counter.client.declare([declared(schedule="in 30m")])
    at = counter.job().next_fire_at
    counter.clock.advance(60)
    assert counter.client.declare([declared(schedule="in 30m", policy={"grace": 5.0})]) == ["a"]
    assert counter.job().next_fire_at == at


def test_a_one_shot_that_ran_stays_done(counter: Counter) -> None:
    counter.client.declare([declared(schedule="2026-07-01T12:30:00Z")])
    counter.clock.advance(3600)
    assert counter.client.declare([declared(schedule="2026-07-01T12:30:00Z")]) == []


def test_a_one_shot_of_the_past_is_refused_and_named(counter: Counter) -> None:
    with pytest.raises(ScheduleError, match="in the past"):
        counter.client.declare([declared(schedule="2001-01-01T00:00:00Z")])


def test_two_processes_declare_at_once(counter: Counter) -> None:
    ready = threading.Barrier(4)
    found: list[object] = []

    def declare() -> None:
        ready.wait(60)
        for number in range(10):
            try:
                found.extend(counter.client.declare([declared(id=f"a{number}")]))
            except HermesCronError as error:
                found.append(error)

    threads = [threading.Thread(target=declare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert sorted(map(str, found)) == [f"a{number}" for number in range(10)]
    assert all(record.job is not None and record.job.revision == 1 for record in counter.client.list())


def test_takes_what_an_app_declares(counter: Counter) -> None:
    app = HermesCron("reports")
    app.cron("every 15m", args={"place": "x"}, overlap="queue")(app.task(name="tide")(lambda place: place))
    assert counter.client.declare(app.jobs.values()) == ["reports.tide"]
    assert counter.client.declare(app.jobs.values()) == []


def test_a_removed_job_comes_back_with_the_code(counter: Counter) -> None:
    counter.client.declare([declared()])
    counter.client.remove("a")
    assert counter.client.declare([declared()]) == ["a"]
