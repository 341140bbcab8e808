"""Time passes over jobs: what is skipped over comes out as if it had been driven, and the ladder keeps chains alive."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hermes_cron.job import Job, JobState
from hermes_cron.ledger import FireState
from hermes_cron.policy import Policy
from hermes_cron.schedule import Schedule
from hermes_cron.simulation.plan import FAULTS, LADDER, Chance, Plan, outages
from hermes_cron.simulation.simulate import simulate
from hermes_cron.simulation.stage import Stage
from hermes_cron.simulation.tally import Tally
from tests.unit.parts import NOON

pytestmark = pytest.mark.timeout(900)
SINCE = datetime(2026, 3, 27, 0, 0, 30, tzinfo=UTC)
"""Two days before the clocks of Lisbon go forward."""

TEXTS = [
    "every 7m", "*/10 * * * *", "0 * * * *", "30 1 * * *", "15 6 * * 1-5", "every 45m", "in 5h", "5,6 */6 * * *",
]  # fmt: skip
policies = st.builds(
    Policy, repeat=st.sampled_from([None, None, None, 3]), jitter=st.sampled_from([0, 0, 20]),
    overlap=st.sampled_from(["skip", "queue"]), timeout=st.sampled_from([None, 600]),
    grace=st.sampled_from([None, 60]), ends_at=st.sampled_from([None, None, SINCE + timedelta(days=1)]),
)  # fmt: skip


def job(job_id: str, text: str, policy: Policy | None = None, anchor: str = "fire") -> Job:
    schedule = Schedule.parse(text, timezone="Europe/Lisbon", now=SINCE, anchor=anchor)
    policy = policy or Policy()
    return Job(job_id, "t", schedule, policy=replace(policy, jitter=0) if schedule.kind == "once" else policy)


jobs_of = st.lists(st.tuples(st.sampled_from(TEXTS), policies, st.booleans()), min_size=1, max_size=4)


CALLS = ("arms", "rungs", "lists", "cold_starts", "awake_s")


def plain(tally: Tally) -> dict[str, Any]:
    """What became of the jobs, and what went wrong; calls and wakes are compared by themselves."""
    found = {f.name: getattr(tally, f.name) for f in fields(Tally) if f.name not in CALLS}
    return {**found, "lines": {job_id: line for job_id, line in tally.lines.items() if line.runs or line.outcomes}}


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(definitions=jobs_of, faults=st.sampled_from(FAULTS), seed=st.integers(0, 99), run_s=st.sampled_from([1, 10, 50]))
def test_what_is_skipped_over_comes_out_as_if_it_had_been_driven(
    definitions: Any, faults: str, seed: int, run_s: float
) -> None:
    jobs = [
        job(f"job-{n}", text, policy, "completion" if text.startswith("every") and completes else "fire")
        for n, (text, policy, completes) in enumerate(definitions)
    ]
    plan = Plan(SINCE, 2, faults, seed, run_s=run_s)
    glided, driven = (simulate(jobs, replace(plan, glides=glides)) for glides in (True, False))
    assert plain(glided) == plain(driven)
    for name in CALLS:
        # Faults are driven, in the midst of what is skipped over: there one may be counted more or less.
        slack = {"abs": 0.5} if faults == "none" else {"rel": 0.02, "abs": 5}
        assert getattr(glided, name) == pytest.approx(getattr(driven, name), **slack), name


def test_a_day_of_an_hourly_job_is_counted_fire_by_fire() -> None:
    tally = simulate([job("hourly", "0 * * * *")], Plan(SINCE, 1, run_s=10, cold_s=2, idle_s=30))
    line = tally.lines["hourly"]
    assert (line.runs, line.outcomes, line.undecided) == (24, {FireState.SUCCEEDED: 24}, 0)
    assert (tally.cold_starts, line.latest_s) == (24, 2.0)
    assert tally.arms == 1 + 24, "the first arm, and one for each fire: its guard lies beyond the next fire"
    assert tally.awake_s == pytest.approx(24 * (2 + 10 + 1 + 30), abs=43)


def test_jobs_that_fire_together_share_one_cold_start() -> None:
    together = simulate([job("a", "0 * * * *"), job("b", "0 * * * *")], Plan(SINCE, 1))
    apart = simulate([job("a", "0 * * * *"), job("b", "30 * * * *")], Plan(SINCE, 1))
    assert (together.cold_starts, apart.cold_starts) == (24, 48)


def test_a_job_whose_runs_take_longer_than_its_period_skips_fires() -> None:
    line = simulate([job("a", "* * * * *")], Plan(SINCE, 1 / 24, run_s=90)).lines["a"]
    assert line.outcomes[FireState.SKIPPED] in range(25, 32)
    assert line.outcomes[FireState.SUCCEEDED] in range(28, 33)


def test_a_fire_that_is_driven_among_others_changes_nothing_of_them() -> None:
    jobs = [job("a", "*/10 * * * *"), job("b", "*/7 * * * *", Policy(timeout=5))]
    glided, driven = (simulate(jobs, Plan(SINCE, 2, run_s=50, glides=glides)) for glides in (True, False))
    assert glided.lines == driven.lines
    assert glided.cold_starts == pytest.approx(driven.cold_starts, rel=0.02)
    assert glided.arms == pytest.approx(driven.arms, rel=0.02)


def test_a_run_over_its_time_has_failed() -> None:
    line = simulate([job("a", "0 * * * *", Policy(timeout=5))], Plan(SINCE, 1)).lines["a"]
    assert line.outcomes == {FireState.FAILED: 24}


def test_i14_a_job_that_repeats_three_times_runs_three_times() -> None:
    tally = simulate([job("a", "0 * * * *", Policy(repeat=3))], Plan(SINCE, 2))
    assert tally.lines["a"].runs == 3
    assert tally.dead_since is None, "nothing has a wake, so nothing is missed"


def test_the_clock_change_leaves_out_no_day() -> None:
    line = simulate([job("a", "30 1 * * *")], Plan(SINCE, 5)).lines["a"]
    assert line.runs == 5


def test_a_job_from_a_store_goes_on_as_it_stands() -> None:
    kept = replace(job("a", "0 * * * *"), created_at=SINCE, next_fire_at=SINCE - timedelta(hours=5), counted=7)
    paused = replace(job("b", "0 * * * *"), created_at=SINCE, state=JobState.PAUSED)
    ending = replace(job("c", "in 1h"), created_at=SINCE)
    tally = simulate([kept, paused, ending], Plan(SINCE, 1))
    assert tally.lines["a"].outcomes == {FireState.MISSED: 5, FireState.SUCCEEDED: 25}
    assert (tally.lines["b"].runs, tally.lines["c"].runs) == (0, 0)


def test_i16_without_a_ladder_an_outage_ends_the_chain_and_with_one_it_does_not() -> None:
    hourly = [job("hourly", "0 * * * *")]
    bare = [simulate(hourly, Plan(SINCE, 60, "all", seed, rungs=())) for seed in range(8)]
    with_ladder = [simulate(hourly, Plan(SINCE, 60, "all", seed, rungs=LADDER)) for seed in range(8)]
    assert sum(tally.dead_since is not None for tally in bare) >= 6
    assert all(tally.dead_since is None for tally in with_ladder)
    assert sum(tally.sentinels for tally in with_ladder) > 0
    assert all(tally.lines["hourly"].undecided == 0 for tally in with_ladder)


def test_a_dead_chain_leaves_its_fires_undecided() -> None:
    tally = simulate([job("hourly", "0 * * * *")], Plan(SINCE, 60, "all", 1, rungs=()))
    assert tally.dead_since is not None
    hours = (Plan(SINCE, 60).until - tally.dead_since) // timedelta(hours=1)
    assert tally.lines["hourly"].undecided in range(hours, hours + 3)


def test_the_same_seed_gives_the_same_and_another_gives_another() -> None:
    found = [plain(simulate([job("a", "0 * * * *")], Plan(SINCE, 30, "all", seed))) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_faults_are_as_frequent_as_they_are_said_to_be() -> None:
    plan = Plan(NOON, 3650, "all")
    found = outages(plan)
    lengths = [(outage.end - outage.start).total_seconds() for outage in found]
    assert len(found) == pytest.approx(730, rel=0.1)
    assert sum(lengths) / len(lengths) == pytest.approx(1200, rel=0.2)
    assert sum(outage.both for outage in found) / len(found) == pytest.approx(0.5, abs=0.08)
    chance = Chance("crashes", plan, 0.01)
    assert sum(chance.strikes() for _ in range(50_000)) == pytest.approx(500, rel=0.15)
    assert outages(Plan(NOON, 3650)) == []


def test_a_chance_that_is_no_part_of_the_plan_never_strikes() -> None:
    chance = Chance("crashes", Plan(NOON, faults="nas-outages"), 1.0)
    assert not any(chance.strikes() for _ in range(1000))


def test_an_agent_can_be_made_to_behave_otherwise() -> None:
    class Sleepless(Stage):
        def idle(self) -> bool:
            return False

    tally = simulate([job("a", "0 * * * *")], Plan(SINCE, 1, glides=False), partial(Sleepless))
    assert tally.cold_starts == 0
    assert tally.awake_s == pytest.approx(86_400, abs=1)
