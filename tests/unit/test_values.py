"""The small values of floor 0: errors, instants, the words of the contract, fires, ledger rows and records."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_cron import clock, contract, errors
from hermes_cron.arm import Arm
from hermes_cron.errors import FireInvalid, HermesCronError, NasRefused, TokenRejected
from hermes_cron.fire import Fire
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import OPEN, Entry, FireState, manual_key, scheduled_key
from hermes_cron.record import Record
from hermes_cron.run import Run, RunState
from hermes_cron.schedule import Schedule

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
JOB = Job("a", "app.task", Schedule("every", "every 15m"))
instants = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


def test_an_error_says_what_and_where_and_then_what_to_do() -> None:
    error = errors.ConfigError("broker.url is wrong.", hint="Write memory://.", field="broker.url")
    assert (str(error), error.field, error.exit_code) == ("broker.url is wrong. Write memory://.", "broker.url", 78)
    assert str(HermesCronError("only this")) == "only this"


def test_an_error_can_be_caught_by_what_it_is_elsewhere_in_python() -> None:
    for kind, other in [
        (errors.ScheduleError, ValueError), (errors.JobInvalid, ValueError), (errors.JobNotFound, LookupError),
        (errors.TaskNotFound, LookupError), (errors.RunNotFound, LookupError), (errors.FireInvalid, ValueError),
    ]:  # fmt: skip
        assert issubclass(kind, other)


def test_a_refused_token_tells_its_reason_to_the_log_only() -> None:
    error = TokenRejected("expired", "the token ended at noon")
    assert (error.reason, str(error)) == ("expired", "the token ended at noon")


def test_a_permanent_refusal_of_nas_is_one_of_its_errors_and_not_worth_another_try() -> None:
    error = NasRefused("NAS does not know this agent.", reason="invalid_client")
    assert isinstance(error, errors.NasError)
    assert (error.reason, error.sent, error.retry_after, error.exit_code) == ("invalid_client", False, None, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00+00:00"),
        ("2026-07-01T14:00:00+02:00", "2026-07-01T12:00:00+00:00"),
        ("2026-07-01 12:00:00.500+00:00", "2026-07-01T12:00:00.500000+00:00"),
        ("20260701T120000Z", "2026-07-01T12:00:00+00:00"),
    ],
)
def test_equal_instants_have_one_text_form(text: str, expected: str) -> None:
    assert clock.instant_text(clock.read_instant(text)) == expected


@pytest.mark.parametrize(
    "text", ["", "noon", "2026-07-01T12:00:00", "2026-02-31T00:00:00Z", "0001-01-01T00:00:00+14:00"]
)
def test_it_refuses_what_is_no_instant_with_an_offset(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an ISO 8601|has no offset|outside the years"):
        clock.read_instant(text)


@given(instants)
def test_an_instant_survives_its_text_and_its_microseconds(instant: datetime) -> None:
    assert clock.read_instant(clock.instant_text(instant)) == instant
    assert clock.from_micros(clock.to_micros(instant)) == instant


def test_the_clocks_are_aware_and_go_forward() -> None:
    assert clock.utc_now().tzinfo is UTC
    assert abs(clock.utc_now().timestamp() - time.time()) < 60
    assert clock.monotonic() <= clock.monotonic()
    assert clock.boot_seconds() <= clock.boot_seconds()


@pytest.mark.parametrize("value", ["a", "A-z0.9:_@", "_wake.1", "x" * 255])
def test_an_id_of_the_wire_is_taken(value: str) -> None:
    assert contract.is_job_id(value)


@pytest.mark.parametrize("value", ["", ".a", "a/b", "../x", "a b", "a\n", "ä", "x" * 256, None, 7, ["a"]])
def test_an_id_that_the_wire_forbids_is_refused(value: object) -> None:
    assert not contract.is_job_id(value)


def test_a_fire_has_one_identity_however_its_instant_is_written() -> None:
    keys = {
        Fire.from_body({"job_id": "a", "fire_at": text}).dedup_key
        for text in ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00+00:00", "2026-07-01T13:00:00.000+01:00")
    }
    assert keys == {"a:2026-07-01T12:00:00+00:00"}
    assert Fire.from_body({"job_id": "a", "extra": 1}).dedup_key is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, ""), ([], ""), ("a", ""), ({}, "job_id"), ({"job_id": 7}, "job_id"), ({"job_id": "../x"}, "job_id"),
        ({"job_id": "a", "fire_at": 5}, "fire_at"), ({"job_id": "a", "fire_at": "noon"}, "fire_at"),
        ({"job_id": "a", "fire_at": "2026-07-01T12:00:00"}, "fire_at"),
        ({"job_id": "a", "fire_at": "2026-07-01T12:00:00Z" + " " * 99}, "fire_at"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_fire_is_refused_with_its_field(body: Any, field: str) -> None:
    with pytest.raises(FireInvalid) as caught:
        Fire.from_body(body)
    assert caught.value.field == field


@given(st.recursive(st.none() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)))
def test_i17_any_body_is_a_fire_or_refused(body: Any) -> None:
    for candidate in (body, {"job_id": "a", "fire_at": body}, {"job_id": body}):
        try:
            fire = Fire.from_body(candidate)
        except FireInvalid:
            continue
        assert contract.is_job_id(fire.job_id)


def test_i12_an_outcome_once_written_never_changes() -> None:
    entry = Entry("a", "k", NOON, FireState.RUNNING, since=NOON, not_before=NOON)
    settled = entry.settle(FireState.SUCCEEDED, "", NOON)
    assert (settled.state, settled.settled_at, settled.not_before, settled.since) == (
        FireState.SUCCEEDED,
        NOON,
        None,
        None,
    )
    assert settled.settle(FireState.FAILED, "late", NOON + HOUR) is settled


def test_every_state_of_a_fire_is_open_or_an_outcome() -> None:
    assert {state for state in FireState if Entry("a", "k", NOON, state).open} == set(OPEN)
    assert len(set(FireState) - OPEN) == 6


def test_the_keys_of_scheduled_and_manual_fires_cannot_meet() -> None:
    assert scheduled_key(NOON.astimezone(timezone(HOUR))) == "2026-07-01T12:00:00+00:00"
    assert manual_key("1") == "manual:1"


def test_a_record_tells_waiting_fires_from_retries_and_the_oldest_come_first() -> None:
    waits = [Entry("a", f"k{n}", NOON + n * HOUR, FireState.WAITING, since=NOON - n * HOUR) for n in (2, 0, 1)]
    retries = [replace(waits[0], key=f"r{n}", not_before=NOON + n * HOUR) for n in (3, 2)]
    record = Record("a", JOB, entries=(*waits, *retries, Entry("a", "x", NOON, FireState.RUNNING)))
    assert [entry.key for entry in record.waiting] == ["k0", "k1", "k2"]
    assert [entry.key for entry in record.retries] == ["r2", "r3"]
    assert record.entry("x") is not None
    assert record.entry("y") is None


def test_a_record_finds_open_runs_only() -> None:
    run = Run("a:1", "a", "k", NOON, 1, 1, "app.task", {})
    record = Record("a", JOB, runs=(run, replace(run, id="a:2", state=RunState.FAILED)))
    assert record.open_runs == (run,)
    assert (record.run("a:1"), record.run("a:2")) == (run, None)
    assert record.with_run(replace(run, worker="w")).run("a:1") == replace(run, worker="w")


def test_a_record_is_blank_without_job_and_arm_and_unknown_when_its_job_was_removed() -> None:
    assert Record("a").blank
    assert not Record("a", arm=Arm(known=False)).blank
    assert Record("a", JOB).known
    assert not Record("a", JOB.with_state(JobState.REMOVED)).known
    assert not Record("a").known
