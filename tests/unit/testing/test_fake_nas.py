"""The fake NAS: in an app with a frozen clock, and by itself, beside real parts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hermes_cron import HermesCron, Store
from hermes_cron.client import Client
from hermes_cron.store import open_store
from hermes_cron.testing import Delivered, FakeNas, FrozenCron
from tests.unit.parts import NOON, FakeClock

START = datetime(2026, 3, 28, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def app() -> HermesCron:
    app = HermesCron("reports")

    @app.cron("0 * * * *")
    def hourly() -> None: ...

    @app.task(name="tide")
    def tide() -> None: ...

    return app


def test_it_holds_one_alarm_a_job_and_the_ladder(app: HermesCron) -> None:
    cron = FrozenCron(app, at=START)
    cron.client.add("tide", "daily at 09:00", "tide")
    assert cron.armed == {"reports.hourly": START + HOUR, "tide": START + 9 * HOUR}
    assert sorted(set(cron.nas.held) - set(cron.armed)) == [f"_wake.{rung}" for rung in (1, 2, 3, 4)]


def test_who_sleeps_through_an_outage_runs_late_once_it_is_over(app: HermesCron) -> None:
    cron = FrozenCron(app, at=START)
    with cron.nas.outage():
        assert cron.advance(by=HOUR + 30 * MINUTE) == []
    [run] = cron.advance(by=11 * MINUTE)
    assert run.fire_at == START + HOUR
    assert run.started_at is not None
    assert START + HOUR + 30 * MINUTE < run.started_at <= cron.now


def test_it_makes_no_difference_in_how_many_steps_time_passes(app: HermesCron) -> None:
    histories = []
    for minutes in (1, 7, 30, 210):
        cron = FrozenCron(app, at=START)
        cron.takes("reports.hourly", 3)
        with cron.nas.outage():
            for _ in range(210 // minutes):
                cron.advance(by=minutes * MINUTE)
        for _ in range(210 // minutes):
            cron.advance(by=minutes * MINUTE)
        histories.append((cron.runs(), cron.nas.held))
    assert histories[1:] == histories[:-1]
    assert len(histories[0][0]) >= 4


def test_what_was_late_is_armed_for_its_next_fire(app: HermesCron) -> None:
    cron = FrozenCron(app, at=START)
    with cron.nas.outage():
        cron.advance(by=HOUR + 30 * MINUTE)
    cron.advance(by=11 * MINUTE)
    assert cron.armed == {"reports.hourly": START + 2 * HOUR}


def test_i11_while_an_alarm_is_wanted_the_app_stays_awake_and_finds_what_is_due(app: HermesCron) -> None:
    cron = FrozenCron(app, at=START)
    with cron.nas.outage():
        changed = cron.client.add("tide", "every 10m", "tide")
        assert not changed.armed
        assert "tide" not in cron.armed
        runs = cron.advance(by=25 * MINUTE)
    late = [run.started_at - run.fire_at for run in runs if run.started_at is not None]
    assert len(late) == 2
    assert all(timedelta(0) <= each <= timedelta(seconds=15) for each in late)
    cron.advance()
    assert cron.armed["tide"] == START + 30 * MINUTE, "NAS is told as soon as it is back"


def test_a_week_of_outage_ends_no_schedule(app: HermesCron) -> None:
    cron = FrozenCron(app, at=START)
    with cron.nas.outage():
        cron.advance(by=timedelta(days=6))
    cron.advance(by=HOUR)
    assert [run.fire_at for run in cron.advance(by=3 * HOUR)] == [
        START + timedelta(days=6, hours=hours) for hours in (2, 3, 4)
    ]
    assert cron.client.audit(START, cron.now).findings == ()


def test_outages_may_lie_within_each_other(app: HermesCron) -> None:
    nas = FrozenCron(app, at=START).nas
    with nas.outage():
        with nas.outage():
            pass
        assert nas.away
    assert not nas.away


# By itself.


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path}/cron.db", clock=clock)
    yield store
    store.close()


def test_it_takes_the_alarms_of_a_client_over_a_real_store(app: HermesCron, clock: FakeClock, store: Store) -> None:
    nas = FakeNas(clock)
    client = Client(store, nas.scheduler(), app.tasks)
    assert client.add("tide", "every 15m", "tide").armed
    assert nas.armed == {"tide": NOON + 15 * MINUTE}
    with nas.outage():
        assert not client.update("tide", schedule="every 5m").armed
    assert "tide" in client.reconcile().armed
    assert nas.armed == {"tide": NOON + 5 * MINUTE}
    client.remove("tide")
    assert nas.held == {}


def test_it_delivers_what_is_due_and_tries_again_what_was_not_taken(
    app: HermesCron, clock: FakeClock, store: Store
) -> None:
    nas = FakeNas(clock)
    Client(store, nas.scheduler(), app.tasks).add("tide", "every 15m", "tide")
    answers = [503, 202]
    posted = []

    def post(body: bytes, token: str) -> int:
        posted.append((body, token))
        return answers.pop(0)

    assert nas.deliver(post) == []
    clock.advance(900)
    due = NOON + 15 * MINUTE
    with nas.outage():
        assert nas.deliver(post) == [Delivered("tide", due, None)]
    clock.advance(1)
    assert nas.deliver(post) == [Delivered("tide", due, 503)]
    clock.advance(1)
    assert nas.deliver(post) == [Delivered("tide", due, 202)]
    assert nas.armed == {}
    assert {body for body, _ in posted} == {b'{"job_id": "tide", "fire_at": "2026-07-01T12:15:00+00:00"}'}
    assert len({token for _, token in posted}) == 2, "each try has a token of its own"
    clock.advance(59)
    assert nas.deliver(post) == []
    clock.advance(1)
    answers.append(202)
    assert [each.status for each in nas.deliver(post)] == [202], "nobody answered it by an arm, so it comes again"
