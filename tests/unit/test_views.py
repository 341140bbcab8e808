"""How things look as JSON, and what the next fires of a job are."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from hermes_cron import views
from hermes_cron.arm import Arm
from hermes_cron.client import upcoming
from hermes_cron.job import Job
from hermes_cron.ledger import Entry, FireState
from hermes_cron.policy import Policy
from hermes_cron.record import Record
from hermes_cron.run import Run, RunState
from hermes_cron.schedule import Schedule
from tests.unit.parts import NOON

SOON, LATER = NOON + timedelta(minutes=5), NOON + timedelta(hours=1)
ARMED = Arm(wake_at=SOON, armed_for=SOON, armed_at=SOON)
JOB = Job("tide", "harbour.tide", Schedule.parse("every 5m", now=NOON), next_fire_at=SOON)


def run(attempt: int, state: RunState, **more: Any) -> Run:
    given = {
        "started_at": NOON + timedelta(seconds=attempt),
        "ended_at": NOON + timedelta(seconds=attempt + 0.5),
        **more,
    }
    return Run(f"tide:{attempt}", "tide", "k", NOON, attempt, attempt, "t", {}, state, worker=f"w{attempt}", **given)


@pytest.mark.parametrize(
    ("arm", "confirms", "word"),
    [
        (Arm(), True, "none"),
        (ARMED, True, "armed"),
        (replace(ARMED, wake_at=LATER), True, "wanted"),
        (replace(ARMED, known=False), True, "wanted"),
        (replace(ARMED, wake_at=None), True, "disarm wanted"),
        (ARMED, False, "ticker"),
        (Arm(), False, "none"),
    ],
)
def test_it_has_one_word_for_an_arm(arm: Arm, confirms: bool, word: str) -> None:
    assert views.arm_state(arm, confirms=confirms) == word


@pytest.mark.parametrize(
    ("arm", "held", "says"),
    [
        (ARMED, {"a": SOON}, ""),
        (ARMED, {"a": SOON + timedelta(seconds=1)}, ""),
        (ARMED, {"a": LATER}, "held at another instant"),
        (ARMED, {"a": None}, "held at another instant"),
        (ARMED, {}, "confirmed, but not held"),
        (replace(ARMED, wake_at=LATER), {"a": SOON}, "held, but not confirmed to be what is wanted"),
        (replace(ARMED, wake_at=LATER), {}, "wanted, and not held"),
        (replace(ARMED, wake_at=None), {}, "a disarm is not confirmed"),
        (replace(ARMED, wake_at=None), {"a": SOON}, "held, but not wanted"),
        (Arm(), {"a": SOON}, "held, but not wanted"),
    ],
)
def test_it_compares_what_is_wanted_with_what_is_held(arm: Arm, held: dict[str, datetime | None], says: str) -> None:
    (row,) = views.held_views([Record("a", arm=arm)], held, NOON)
    assert (row["says"], row["agree"]) == (says, not says)


@pytest.mark.parametrize(("seconds", "lacks", "past"), [(30, "", ""), (90, "confirmed, but not held", "is past")])
def test_it_trusts_a_past_alarm_for_a_minute_only(seconds: int, lacks: str, past: str) -> None:
    now = SOON + timedelta(seconds=seconds)
    (row,) = views.held_views([Record("a", arm=ARMED)], {}, now)
    assert row["says"] == lacks
    (row,) = views.held_views([Record("a", arm=ARMED)], {"a": SOON}, now)
    assert row["says"].endswith(past)
    assert row["agree"] == (not past)


def test_it_leaves_out_what_is_neither_wanted_nor_held() -> None:
    assert views.held_views([Record("a")], {}, NOON) == []


def test_it_tells_of_a_fire_by_its_first_start_and_its_last_run() -> None:
    runs = [run(2, RunState.SUCCEEDED, result='{"depth": 3}'), run(1, RunState.FAILED, error="ebb")]
    entry = Entry("tide", "k", NOON, FireState.SUCCEEDED, attempts=2, settled_at=SOON)
    view = views.fire_view(entry, runs)
    assert (view["late_s"], view["took_s"], view["worker"]) == (1.0, 0.5, "w2")
    assert [found["state"] for found in view["runs"]] == ["failed", "succeeded"]
    assert view["runs"][1]["result"] == {"depth": 3}


def test_it_gives_each_fire_its_own_runs() -> None:
    entries = [Entry("tide", "k", NOON, FireState.FAILED), Entry("ebb", "k", NOON, FireState.MISSED)]
    found = views.fire_views(entries, [run(1, RunState.FAILED)])
    assert [len(view["runs"]) for view in found] == [1, 0]
    assert (found[1]["late_s"], found[1]["worker"]) == (None, None)


def test_it_is_json_throughout() -> None:
    record = Record("tide", JOB, ARMED, (run(1, RunState.STARTED),))
    whole = [
        views.job_view(record, JOB, confirms=True), views.arm_view(record, confirms=True),
        views.schedule_view(JOB.schedule, upcoming(JOB, 3), []), *views.held_views([record], {"tide": SOON}, NOON),
    ]  # fmt: skip
    assert json.loads(json.dumps(whole)) == whole
    assert whole[0]["next_fire_at"] == "2026-07-01T12:05:00+00:00"
    assert whole[0]["open_runs"] == ["tide:1"]


def test_it_shows_the_policies_as_they_work_out() -> None:
    policy = views.policy_view(JOB)
    assert (policy["grace"], policy["repeat"], policy["misfire"]) == (300.0, None, "run_latest")
    once = replace(JOB, schedule=Schedule.parse("in 5m", now=NOON))
    assert views.policy_view(once)["repeat"] == 1


@pytest.mark.parametrize(
    ("changes", "minutes"),
    [
        ({}, [5, 10, 15]),
        ({"policy": Policy(repeat=3), "counted": 1}, [5, 10]),
        ({"next_fire_at": None}, []),
        ({"schedule": Schedule.parse("every 5m", now=NOON, anchor="completion")}, [5]),
        ({"policy": Policy(ends_at=NOON + timedelta(minutes=12))}, [5, 10]),
    ],
)
def test_it_foresees_the_next_fires(changes: dict[str, Any], minutes: list[int]) -> None:
    assert upcoming(replace(JOB, **changes), 3) == [NOON + timedelta(minutes=number) for number in minutes]
