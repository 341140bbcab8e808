"""`Job` and its `Policy`: what may be chosen, and which of a job's fires come when."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_cron.errors import JobInvalid
from hermes_cron.job import Job, JobState
from hermes_cron.policy import Policy
from hermes_cron.schedule import Schedule

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
HOURLY = Schedule("cron", "0 * * * *")
EVERY = Schedule("every", "every 15m")
ONCE = Schedule("once", "2026-07-01T13:00:00+00:00")


def job(schedule: Schedule = HOURLY, **policies: Any) -> Job:
    return Job("a", "app.task", schedule, policy=Policy(**policies))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("misfire", "run_some"), ("misfire", "run_all(0)"), ("misfire", "run_all(1001)"), ("misfire", 7),
        ("overlap", "never"), ("overlap", None), ("grace", -1), ("grace", float("nan")), ("grace", "5m"),
        ("timeout", 0), ("timeout", True), ("timeout", float("inf")), ("backoff", -0.1), ("backoff_cap", 1e12),
        ("jitter", -1), ("jitter", None), ("max_attempts", 0), ("max_attempts", 1.0), ("reruns", -1), ("repeat", 0),
        ("repeat", True), ("pause_on_failure", -1), ("starts_at", datetime(2026, 1, 1)), ("ends_at", "tomorrow"),
    ],
)  # fmt: skip
def test_a_policy_out_of_its_range_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(JobInvalid) as caught:
        Policy(**{name: value})
    assert caught.value.field == name


def test_an_unknown_policy_is_refused_by_its_name() -> None:
    with pytest.raises(JobInvalid, match="'retries' is not a policy; known are") as caught:
        Policy.from_dict({"retries": 1})
    assert caught.value.field == "retries"


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(JobInvalid) as caught:
        Policy(starts_at=NOON, ends_at=NOON)
    assert caught.value.field == "ends_at"


def test_run_all_may_say_how_many() -> None:
    assert (Policy(misfire="run_all(3)").misfire, Policy(misfire="run_all(3)").misfire_max) == ("run_all", 3)
    assert Policy(misfire="run_all").misfire_max == 10


policies = st.builds(
    Policy, misfire=st.sampled_from(["run_latest", "run_all(7)", "skip"]), grace=st.none() | st.floats(0, 1e6),
    overlap=st.sampled_from(["skip", "queue", "allow", "replace"]), max_attempts=st.integers(1, 1000),
    backoff=st.floats(0, 1e4), repeat=st.none() | st.integers(1, 10**9), timeout=st.none() | st.floats(0.001, 1e6),
    starts_at=st.none() | st.just(NOON), ends_at=st.none() | st.just(NOON + DAY), pause_on_failure=st.integers(0, 99),
)  # fmt: skip


@given(policies)
def test_a_policy_survives_its_plain_form(policy: Policy) -> None:
    plain = policy.to_dict()
    assert Policy.from_dict(plain) == policy
    assert {f.name for f in fields(Policy) if getattr(policy, f.name) != f.default} == set(plain)


def test_instants_of_a_policy_are_kept_in_utc() -> None:
    policy = Policy.from_dict({"starts_at": "2026-07-01T14:00:00+02:00"})
    assert policy.to_dict() == {"starts_at": "2026-07-01T12:00:00+00:00"}


@pytest.mark.parametrize(
    ("period", "grace"), [(None, DAY), (7 * DAY, DAY), (HOUR, HOUR), (MINUTE, 5 * MINUTE), (5 * MINUTE, 5 * MINUTE)]
)
def test_grace_is_the_period_within_bounds_unless_it_is_said(period: timedelta | None, grace: timedelta) -> None:
    assert Policy().grace_for(period) == grace
    assert Policy(grace=7).grace_for(period) == timedelta(seconds=7)


@pytest.mark.parametrize("value", ["", "_mine", "_wake.1", ".a", "a/b", "x" * 256, None, 7])
def test_an_id_that_no_person_may_choose_is_refused(value: Any) -> None:
    with pytest.raises(JobInvalid) as caught:
        Job(value, "app.task", HOURLY)
    assert caught.value.field == "id"


@pytest.mark.parametrize("args", [[1], {1: 2}, {"a": {1, 2}}, {"a": float("nan")}, {"a": "x" * 70_000}, None])
def test_arguments_that_are_no_small_plain_object_are_refused(args: Any) -> None:
    with pytest.raises(JobInvalid) as caught:
        Job("a", "app.task", HOURLY, args=args)
    assert caught.value.field == "args"


def test_arguments_that_hold_themselves_are_refused() -> None:
    args: dict[str, Any] = {}
    args["a"] = args
    with pytest.raises(JobInvalid):
        Job("a", "app.task", HOURLY, args=args)


@pytest.mark.parametrize(("schedule", "jitter"), [(HOURLY, 3600), (EVERY, 900), (ONCE, 1)])
def test_jitter_is_smaller_than_the_period(schedule: Schedule, jitter: float) -> None:
    with pytest.raises(JobInvalid) as caught:
        job(schedule, jitter=jitter)
    assert caught.value.field == "jitter"


def test_the_offset_of_a_job_is_stable_and_below_its_jitter() -> None:
    one = job(jitter=600)
    assert one.offset == job(jitter=600).offset
    assert timedelta(0) <= one.offset < timedelta(seconds=600)
    assert replace(one, id="b").offset != one.offset


def test_a_fire_with_jitter_is_its_slot_and_the_offset_and_no_slot_is_lost() -> None:
    one = job(jitter=3599)
    fires = [NOON]
    for _ in range(24):
        following = one.fire_after(fires[-1])
        assert following is not None
        fires.append(following)
    slots = [fire - one.offset for fire in fires[1:]]
    assert slots == [slots[0] + n * HOUR for n in range(24)]


def test_a_window_bounds_the_slots_at_both_ends() -> None:
    one = job(starts_at=NOON + 3 * HOUR, ends_at=NOON + 4 * HOUR)
    assert one.fire_after(NOON) == NOON + 3 * HOUR
    assert one.fire_after(NOON + 3 * HOUR) == NOON + 4 * HOUR
    assert one.fire_after(NOON + 4 * HOUR) is None


def test_every_n_begins_at_the_start_of_its_window() -> None:
    one = job(EVERY, starts_at=NOON + 100 * MINUTE)
    assert one.first_fire(NOON) == NOON + 100 * MINUTE
    assert one.fire_after(NOON + 100 * MINUTE) == NOON + 115 * MINUTE


def test_a_one_shot_repeats_once_and_what_is_used_up_has_no_fire() -> None:
    assert (job(ONCE).repeat, job(HOURLY).repeat, job(HOURLY, repeat=3).repeat) == (1, None, 3)
    assert job(ONCE).fire_after(NOON) == NOON + HOUR
    assert replace(job(ONCE), counted=1).fire_after(NOON) is None
    assert replace(job(HOURLY, repeat=3), counted=3).used_up


schedules = st.sampled_from([HOURLY, EVERY, Schedule("cron", "*/7 9-17 * * *", "Europe/Lisbon")])


@given(schedules, st.integers(0, 20_000), st.sampled_from([0, 200]))
def test_due_fires_are_found_from_the_end_as_from_the_start(schedule: Schedule, minutes: int, jitter: float) -> None:
    one = job(schedule, jitter=jitter)
    one = replace(one, next_fire_at=one.first_fire(NOON))
    now = NOON + minutes * MINUTE
    forward = []
    at = one.next_fire_at
    while at is not None and at <= now:
        forward.append(at)
        at = one.fire_after(at)
    backward = []
    at = one.last_due(now)
    while at is not None:
        backward.append(at)
        at = one.fire_before(at)
    assert backward[::-1] == forward
    if forward:
        assert one.fires_between(forward[0], forward[-1]) == len(forward)
        following = one.fire_following(forward[-1], now)
        assert following is not None
        assert following > now


def test_only_a_scheduled_job_has_a_next_fire() -> None:
    one = replace(job(), next_fire_at=NOON)
    assert one.with_state(JobState.SCHEDULED).next_fire_at == NOON
    paused = one.with_state(JobState.PAUSED, "because")
    assert (paused.next_fire_at, paused.reason) == (None, "because")
