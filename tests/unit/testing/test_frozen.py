"""An app with a frozen clock: what a user's test asks of it, and what it answers."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hermes_cron import HermesCron, Run
from hermes_cron.errors import JobNotFound, JobStateError, ScheduleError, TaskFailed, TaskNotFound, TimeInvalid
from hermes_cron.testing import FrozenCron

START = "2026-03-28T00:00Z"
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def started(runs: list[Run]) -> list[datetime | None]:
    return [run.started_at for run in runs]


def outcomes(cron: FrozenCron, job_id: str) -> list[str]:
    return [str(entry.state) for entry in cron.fires(job_id)]


@pytest.fixture
def app() -> HermesCron:
    return HermesCron("reports")


def test_a_job_runs_at_its_local_time_over_both_clock_changes(app: HermesCron) -> None:
    @app.cron("0 6 * * *", timezone="Europe/Lisbon")
    def morning() -> str:
        return "good morning"

    cron = FrozenCron(app, at=START)
    assert cron.armed == {"reports.morning": at("2026-03-28T06:00Z")}
    spring = cron.advance(to="2026-03-30T00:00Z")
    assert started(spring) == [at("2026-03-28T06:00+00:00"), at("2026-03-29T06:00+01:00")]
    assert [(run.state, json.loads(run.result)) for run in spring] == [("succeeded", "good morning")] * 2
    cron.advance(to="2026-10-24T12:00Z")
    autumn = cron.advance(to="2026-10-26T12:00Z")
    assert started(autumn) == [at("2026-10-25T06:00Z"), at("2026-10-26T06:00Z")]


@pytest.mark.parametrize(("night", "zone"), [("2026-03-28", "Europe/Lisbon"), ("2026-10-24", "Europe/Lisbon")])
def test_a_time_that_a_clock_change_skips_or_repeats_fires_once(app: HermesCron, night: str, zone: str) -> None:
    @app.cron("30 1 * * *", timezone=zone)
    def night_shift() -> None: ...

    cron = FrozenCron(app, at=f"{night}T12:00Z")
    assert len(cron.advance(by=24 * HOUR)) == 1


def test_nothing_happens_before_its_time_and_time_stands_in_between(app: HermesCron) -> None:
    @app.cron("0 * * * *")
    def hourly() -> None: ...

    cron = FrozenCron(app, at=START)
    assert cron.advance(by=HOUR - timedelta(microseconds=1)) == []
    assert cron.now == at("2026-03-28T00:59:59.999999+00:00")
    assert len(cron.advance(by=timedelta(microseconds=1))) == 1, "what is due at the very end belongs to it"
    assert cron.advance() == []
    assert cron.now == at("2026-03-28T01:00Z")


def test_two_with_the_same_app_do_the_same(app: HermesCron) -> None:
    @app.cron("*/10 * * * *", max_attempts=5, backoff=60)
    def unlucky() -> None:
        raise ValueError("no luck")

    @app.cron("every 7m", overlap="queue", jitter=30)
    def slow() -> None: ...

    histories = []
    for _ in range(2):
        cron = FrozenCron(app, at=START)
        cron.takes("reports.slow", 10 * MINUTE)
        histories.append((cron.advance(by=3 * HOUR), cron.fires(), cron.nas.held))
    assert histories[0] == histories[1]
    assert {run.job_id for run in histories[0][0]} == {"reports.unlucky", "reports.slow"}


def test_it_starts_no_thread_opens_no_socket_and_does_not_sleep(
    app: HermesCron, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("not here")

    seen = []

    @app.cron("0 * * * *")
    def hourly() -> None:
        seen.append(threading.current_thread())

    @app.cron("0 * * * *")
    def as_well() -> None: ...

    for name in ("socket.socket", "time.sleep", "threading.Thread.start"):
        monkeypatch.setattr(name, forbidden)
    with FrozenCron(app, at=START) as cron:
        with cron.nas.outage():
            cron.advance(by=6 * HOUR)
        cron.advance(by=6 * HOUR)
        cron.client.stop()
        cron.client.start()
    assert set(seen) == {threading.main_thread()}
    assert {socket.socket, time.sleep} == {forbidden}


# Bodies that fail.


def test_a_body_that_raises_is_a_failed_run_and_its_retries_are_wakes(app: HermesCron) -> None:
    attempts = []

    @app.cron("0 6 * * *", max_attempts=3, backoff=600, bind=True)
    def flaky(run: Run) -> str:
        attempts.append(run.attempt)
        if run.attempt < 3:
            raise ConnectionError("the sea is rough")
        return "done"

    cron = FrozenCron(app, at=START)
    first, *_ = cron.advance(to="2026-03-28T06:00Z")
    assert (first.state, first.error) == ("failed", "ConnectionError: the sea is rough")
    assert isinstance(cron.raised(first), ConnectionError)
    retry = cron.armed["reports.flaky"]
    assert at("2026-03-28T06:00Z") < retry <= at("2026-03-28T06:10Z"), "NAS holds the alarm of the retry"
    second, third = cron.advance(by=2 * HOUR)
    assert (second.started_at, second.state, third.state) == (retry, "failed", "succeeded")
    assert cron.raised(third) is None
    assert attempts == [1, 2, 3]
    assert outcomes(cron, "reports.flaky") == ["succeeded"], "one fire, one outcome"
    assert cron.armed == {"reports.flaky": at("2026-03-29T06:00Z")}


def test_a_job_that_keeps_failing_is_paused_when_it_says_so(app: HermesCron) -> None:
    @app.cron("@daily", pause_on_failure=2)
    def broken() -> None:
        raise ValueError

    cron = FrozenCron(app, at=START)
    assert len(cron.advance(by=timedelta(days=7))) == 2
    assert cron.client.get("reports.broken").state == "paused"
    assert cron.armed == {}


def test_errors_are_raised_where_that_is_asked_for_and_time_goes_on_after_them(app: HermesCron) -> None:
    @app.cron("0 * * * *")
    def broken() -> None:
        raise ZeroDivisionError("by hand")

    @app.cron("30 * * * *")
    def fine() -> None: ...

    cron = FrozenCron(app, at=START, raise_errors=True)
    with pytest.raises(ZeroDivisionError, match="by hand"):
        cron.advance(by=3 * HOUR)
    assert cron.now == at("2026-03-28T01:00Z")
    assert [(run.job_id, run.state) for run in cron.runs()] == [
        ("reports.fine", "succeeded"),
        ("reports.broken", "failed"),
    ]
    assert started(cron.advance(by=30 * MINUTE)) == [at("2026-03-28T01:30Z")]


def test_a_run_that_failed_without_raising_is_raised_as_task_failed(app: HermesCron) -> None:
    @app.cron("0 * * * *", timeout=60)
    def long() -> None: ...

    cron = FrozenCron(app, at=START, raise_errors=True)
    cron.takes("reports.long", 61)
    with pytest.raises(TaskFailed, match="timed out after 60 s"):
        cron.advance(by=3 * HOUR)


def test_an_interrupt_is_for_whoever_runs_the_tests(app: HermesCron) -> None:
    @app.cron("0 * * * *")
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FrozenCron(app, at=START).advance(by=HOUR)


def test_what_a_body_says_is_kept_with_its_run_and_goes_where_it_went(
    app: HermesCron, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    @app.cron("0 * * * *")
    def talks() -> None:
        print("counting")
        cron.sleep(60)
        logging.getLogger("shop").error("no scales")

    cron = FrozenCron(app, at=START)
    cron.advance(by=2 * HOUR + MINUTE)
    print("nobody's")
    output = cron.client.output(cron.runs()[1].id)
    assert output is not None
    assert [(line.at, line.source, line.text) for line in output.lines] == [
        (at("2026-03-28T02:00Z"), "stdout", "counting"), (at("2026-03-28T02:01Z"), "shop", "no scales"),
    ]  # fmt: skip
    assert capsys.readouterr().out == "counting\ncounting\nnobody's\n"
    assert caplog.messages == ["no scales"] * 2


# Bodies that take time.


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("skip", ["succeeded", "skipped", "succeeded", "skipped"]),
        ("allow", ["succeeded", "succeeded", "succeeded", "running"]),
        ("replace", ["cancelled", "cancelled", "cancelled", "running"]),
    ],
)
def test_what_overlaps_is_treated_as_the_policy_says(app: HermesCron, overlap: str, expected: list[str]) -> None:
    @app.cron("*/15 * * * *", overlap=overlap)
    def slow() -> None: ...

    cron = FrozenCron(app, at=START)
    cron.takes("reports.slow", 20 * MINUTE)
    cron.advance(by=HOUR + 6 * MINUTE)
    assert outcomes(cron, "reports.slow") == expected


def test_of_what_queues_one_waits_and_runs_at_the_end_of_the_other(app: HermesCron) -> None:
    @app.cron("*/15 * * * *", overlap="queue", repeat=3)
    def slow() -> None: ...

    cron = FrozenCron(app, at="2026-03-28T00:01Z")
    cron.takes("reports.slow", 40 * MINUTE)
    assert started(cron.advance(by=3 * HOUR))[:2] == [at("2026-03-28T00:15Z"), at("2026-03-28T00:55Z")]


def test_runs_of_several_jobs_are_open_at_once_and_each_ends_in_its_own_time(app: HermesCron) -> None:
    @app.cron("0 * * * *", repeat=1)
    def longer() -> None: ...

    @app.cron("10 * * * *", repeat=1)
    def shorter() -> None: ...

    cron = FrozenCron(app, at="2026-03-28T00:30Z")
    cron.takes("reports.longer", 2 * HOUR)
    cron.takes("reports.shorter", 5 * MINUTE)
    begun = cron.advance(to="2026-03-28T01:12Z")
    assert [run.state for run in begun] == ["started", "started"]
    assert cron.advance(to="2026-03-28T04:00Z") == [], "they have begun before"
    assert {run.job_id: run.ended_at for run in cron.runs()} == {
        "reports.longer": at("2026-03-28T03:00Z"), "reports.shorter": at("2026-03-28T01:15Z"),
    }  # fmt: skip


def test_sleeping_inside_a_task_takes_time_of_its_run_and_none_of_ours(
    app: HermesCron, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    @app.cron("0 * * * *", timeout=1800, bind=True)
    def waits(run: Run) -> None:
        while not run.cancelled():
            time.sleep(600)
            seen.append(cron.now)

    cron = FrozenCron(app, at=START)
    monkeypatch.setattr("time.sleep", cron.sleep)
    [run] = cron.advance(by=HOUR)
    cron.advance(by=HOUR - MINUTE)
    assert seen == [run.fire_at + minutes * MINUTE for minutes in (10, 20, 30)]
    [ended] = cron.runs()
    assert (ended.state, ended.error) == ("failed", "timed out after 1800 s")
    assert ended.ended_at == run.fire_at + 30 * MINUTE
    with pytest.raises(TimeInvalid, match="No task runs here"):
        cron.sleep(1)


def test_a_task_cannot_make_time_pass_for_all(app: HermesCron) -> None:
    @app.cron("0 * * * *")
    def impatient() -> None:
        cron.advance(by=HOUR)

    cron = FrozenCron(app, at=START)
    [run] = cron.advance(by=HOUR)
    assert (run.state, cron.now) == ("failed", at("2026-03-28T01:00Z"))
    assert "say sleep(seconds)" in run.error


def test_whoever_freezes_other_clocks_is_told_of_every_instant_before_anything_runs_there(app: HermesCron) -> None:
    told: list[datetime] = []
    inside: list[tuple[datetime, datetime]] = []

    @app.cron("0 * * * *", repeat=2)
    def hourly() -> None:
        inside.append((cron.now, told[-1]))
        cron.sleep(60)
        inside.append((cron.now, told[-1]))

    cron = FrozenCron(app, at=START, moved=told.append)
    assert told == [at(START)]
    cron.advance(by=3 * HOUR)
    assert len(inside) == 4
    assert all(ours == theirs for ours, theirs in inside)
    assert told[-1] == cron.now == at("2026-03-28T03:00Z")


# People.


def test_i15_nothing_of_a_paused_job_starts_until_it_is_resumed(app: HermesCron) -> None:
    @app.cron("0 * * * *")
    def hourly() -> None: ...

    cron = FrozenCron(app, at=START)
    cron.advance(by=2 * HOUR)
    cron.client.pause("reports.hourly", "holiday")
    assert cron.armed == {}
    assert cron.advance(by=10 * HOUR) == []
    assert cron.fire("reports.hourly", cron.now).status == 202
    assert cron.advance() == [], "a fire for a paused job is taken, and refused by the claim"
    with pytest.raises(JobStateError):
        cron.client.run("reports.hourly")
    cron.client.resume("reports.hourly")
    assert started(cron.advance(by=HOUR)) == [at("2026-03-28T13:00Z")]


def test_i15_nothing_starts_while_all_is_stopped(app: HermesCron) -> None:
    @app.cron("0 * * * *")
    def hourly() -> None: ...

    cron = FrozenCron(app, at=START)
    cron.client.stop()
    assert set(cron.nas.held) == set(cron.armed) == {"reports.hourly"}, "the ladder is cancelled at once"
    assert cron.advance(by=3 * HOUR) == []
    assert cron.nas.held == {}, "the fire that came was answered with a cancel"
    cron.client.start()
    assert started(cron.advance(by=HOUR)) == [at("2026-03-28T04:00Z")]
    assert outcomes(cron, "reports.hourly") == ["skipped", "succeeded"]


def test_a_manual_run_runs_at_the_next_advance_without_time_passing(app: HermesCron) -> None:
    @app.cron("0 6 * * *")
    def morning() -> None: ...

    cron = FrozenCron(app, at=START)
    cron.client.run("reports.morning")
    [run] = cron.advance()
    assert (run.manual, run.state, run.started_at) == (True, "succeeded", at(START))
    assert cron.client.get("reports.morning").next_fire_at == at("2026-03-28T06:00Z")


def test_jobs_are_added_changed_and_removed_as_by_any_program(app: HermesCron) -> None:
    calls = []

    @app.task(name="tide")
    def tide(place: str) -> None:
        calls.append((place, cron.now))

    cron = FrozenCron(app, at=START, timezone="Europe/Lisbon")
    assert cron.client.add("tide", "2026-06-01T09:00:00Z", "tide", args={"place": "Faro"}).armed
    cron.client.update("tide", schedule="daily at 09:00", args={"place": "Tavira"})
    cron.advance(to="2026-03-29T12:00Z")
    assert calls == [("Tavira", at("2026-03-28T09:00Z")), ("Tavira", at("2026-03-29T08:00Z"))]
    cron.client.remove("tide")
    assert (cron.armed, cron.advance(by=timedelta(days=3))) == ({}, [])


def test_other_tasks_stand_in_for_those_of_the_app_and_of_the_box(app: HermesCron) -> None:
    sent = []

    @app.cron("0 6 * * *")
    def morning() -> None:
        raise AssertionError("not in this test")

    def http(url: str) -> None:
        sent.append(url)

    tasks = {"http": http, morning.name: lambda: sent.append("morning")}
    cron = FrozenCron(app, at=START, tasks=tasks)
    cron.client.add("ping", "daily at 07:00", "http", args={"url": "https://example.org"})
    cron.advance(by=8 * HOUR)
    assert sent == ["morning", "https://example.org"]
    with pytest.raises(TaskNotFound):
        cron.client.add("sh", "@daily", "shell", args={"argv": ["true"]})


def test_the_api_answers_in_this_process(app: HermesCron) -> None:
    @app.cron("0 6 * * *")
    def morning() -> None: ...

    cron = FrozenCron(app, at=START)
    status: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/api/cron/jobs",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
    }
    from wsgiref.util import setup_testing_defaults

    setup_testing_defaults(environ)
    answer = b"".join(cron.web(environ, lambda line, headers, *rest: status.append(line)))
    assert status == ["200 OK"]
    assert [job["id"] for job in json.loads(answer)["items"]] == ["reports.morning"]


def test_the_audit_finds_every_due_fire_with_its_one_outcome(app: HermesCron) -> None:
    @app.cron("*/20 * * * *", overlap="skip", max_attempts=2, backoff=5)
    def often() -> None:
        if cron.now.hour % 3 == 0:
            raise ValueError

    cron = FrozenCron(app, at=START)
    cron.takes("reports.often", 25 * MINUTE)
    cron.advance(by=5 * HOUR)
    with cron.nas.outage():
        cron.advance(by=5 * HOUR)
    cron.advance(by=14 * HOUR)
    assert cron.client.audit(at(START), cron.now).findings == ()


# The door.


def test_the_fire_endpoint_refuses_strangers_and_takes_what_nas_sends(app: HermesCron) -> None:
    @app.cron("0 6 * * *")
    def morning() -> None: ...

    cron = FrozenCron(app, at="2026-03-28T05:59:30Z")
    assert cron.fire("reports.morning", token="").status == 401
    assert cron.fire("reports.morning", token="a.b.c").body == {"error": "invalid fire token"}
    assert cron.advance() == []
    answer = cron.fire("reports.morning")
    assert (answer.status, answer.body["dedup_key"]) == (202, "reports.morning:2026-03-28T06:00:00+00:00")
    assert cron.advance() == [], "it is held until its instant"
    cron.fire("reports.morning")
    assert started(cron.advance(by=MINUTE)) == [at("2026-03-28T06:00Z")], "and replays change nothing"


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"to": "2026-03-27T23:59:59Z"}, "past"),
        ({"to": "2026-03-29T00:00"}, "offset"),
        ({"to": datetime(2026, 3, 29)}, "offset"),
        ({"to": "tomorrow"}, "ISO 8601"),
        ({"by": -1}, "from 0 on"),
        ({"by": float("nan")}, "from 0 on"),
        ({"by": "1h"}, "from 0 on"),
        ({"by": 1e12}, "9999"),
        ({"by": 1e300}, "longer"),
        ({"by": 1, "to": START}, "not both"),
    ],
)
def test_an_instant_that_cannot_be_gone_to_is_refused_in_words(
    app: HermesCron, arguments: dict[str, Any], words: str
) -> None:
    cron = FrozenCron(app, at=START)
    with pytest.raises(TimeInvalid, match=words):
        cron.advance(**arguments)
    assert cron.now == at(START)


def test_a_job_that_cannot_be_one_now_is_told_of_at_once(app: HermesCron) -> None:
    @app.cron("2026-01-01T00:00:00Z")
    def new_year() -> None: ...

    with pytest.raises(ScheduleError, match="past"):
        FrozenCron(app, at=START)
    assert FrozenCron(app, at="2025-12-31T00:00Z").armed == {"reports.new_year": at("2026-01-01T00:00Z")}


def test_a_job_that_is_not_there_takes_no_time(app: HermesCron) -> None:
    with pytest.raises(JobNotFound):
        FrozenCron(app, at=START).takes("nothing", 1)
