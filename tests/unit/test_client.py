"""`Client`: the programmatic door to jobs, over a real store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from hermes_cron.client import Client, upcoming
from hermes_cron.errors import (
    BrokerError,
    HermesCronError,
    JobExists,
    JobInvalid,
    JobNotFound,
    JobStateError,
    RunNotFound,
    ScheduleError,
    TaskInvalid,
    TaskNotFound,
)
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.providers.builtin import InProcessCronScheduler
from tests.unit.counter import TASKS, Counter
from tests.unit.parts import NOON, add


class TestAdd:
    def test_keeps_a_job_and_arms_it(self, counter: Counter) -> None:
        added = counter.client.add("a", "0 6 * * *", "tide", args={"place": "x"}, policy={"overlap": "queue"})
        assert (added.armed, added.job) == (True, counter.job())
        job = counter.job()
        assert (job.task, job.args, job.policy.overlap, job.schedule.timezone) == (
            "tide", {"place": "x"}, "queue", "Europe/Lisbon",
        )  # fmt: skip
        assert counter.scheduler.said == ["changed a"]
        assert [record.job_id for record in counter.client.list()] == ["a"]

    def test_says_when_its_arm_is_wanted_still(self, counter: Counter) -> None:
        counter.scheduler.holds = False
        assert not counter.client.add("a", "@daily", "tide").armed

    def test_refuses_an_id_that_is_taken(self, counter: Counter) -> None:
        counter.client.add("a", "@daily", "tide")
        with pytest.raises(JobExists):
            counter.client.add("a", "@hourly", "tide")
        assert counter.job().schedule.source == "@daily"

    @pytest.mark.parametrize(
        ("changes", "error", "field"),
        [
            ({"id": "_a"}, JobInvalid, "id"), ({"id": ""}, JobInvalid, "id"),
            ({"schedule": "never"}, ScheduleError, "schedule"), ({"timezone": "Mars"}, ScheduleError, "timezone"),
            ({"schedule": "2001-01-01T00:00Z"}, ScheduleError, "schedule"), ({"args": ""}, JobInvalid, "args"),
            ({"task": "tied"}, TaskNotFound, "task"), ({"args": {"x": 1}}, TaskInvalid, "args"),
            ({"args": [1]}, JobInvalid, "args"), ({"args": {"place": object()}}, JobInvalid, "args"),
            ({"policy": {"overlap": "x"}}, JobInvalid, "overlap"), ({"policy": {"x": 1}}, JobInvalid, "x"),
            ({"anchor": "completion"}, ScheduleError, "anchor"), ({"policy": {"jitter": 1e6}}, JobInvalid, "jitter"),
        ],
    )  # fmt: skip
    def test_refuses_what_cannot_be_a_job(
        self, counter: Counter, changes: dict[str, Any], error: type[HermesCronError], field: str
    ) -> None:
        with pytest.raises(error) as told:
            counter.client.add(**{"id": "a", "schedule": "@daily", "task": "tide", **changes})
        assert told.value.field == field
        assert counter.client.list() == []
        assert counter.scheduler.said == []

    def test_suggests_the_task_that_was_meant(self, counter: Counter) -> None:
        with pytest.raises(TaskNotFound, match="Did you mean 'tide'"):
            counter.client.add("a", "@daily", "tied")
        with pytest.raises(TaskNotFound, match="Known are publish, tide"):
            counter.client.add("a", "@daily", "zzzzzz")

    def test_an_id_comes_back_with_a_higher_fence(self, counter: Counter) -> None:
        fence = counter.client.add("a", "@daily", "tide").job.fence
        counter.client.remove("a")
        assert counter.client.add("a", "@daily", "tide").job.fence >= fence


class TestUpdate:
    def test_keeps_what_is_not_given(self, counter: Counter) -> None:
        before = counter.client.add(
            "a", "every 15m", "tide", args={"place": "x"}, policy={"grace": 60.0, "repeat": 5}
        ).job
        counter.clock.advance(60)
        after = counter.client.update("a", policy={"overlap": "queue"}).job
        assert after.policy.to_dict() == {"grace": 60.0, "repeat": 5, "overlap": "queue"}
        assert (after.schedule, after.args, after.task, after.next_fire_at) == (
            before.schedule, before.args, before.task, before.next_fire_at,
        )  # fmt: skip
        assert after.revision == before.revision + 1

    def test_moves_the_schedule_from_now(self, counter: Counter) -> None:
        counter.client.add("a", "every 15m", "tide")
        counter.clock.advance(60)
        assert counter.client.update("a", schedule="every 1h").job.next_fire_at == NOON + timedelta(minutes=61)

    def test_moves_the_zone_alone(self, counter: Counter) -> None:
        counter.client.add("a", "daily at 09:00", "tide")
        job = counter.client.update("a", timezone="Asia/Tokyo").job
        assert (job.schedule.source, job.schedule.timezone) == ("daily at 09:00", "Asia/Tokyo")
        assert job.next_fire_at == NOON + timedelta(hours=12)

    def test_an_instant_stays_where_only_its_zone_moves(self, counter: Counter) -> None:
        at = counter.client.add("a", "in 30m", "tide").job.next_fire_at
        counter.clock.advance(60)
        assert counter.client.update("a", timezone="Asia/Tokyo").job.next_fire_at == at

    def test_a_policy_given_as_none_goes_back_to_its_default(self, counter: Counter) -> None:
        counter.client.add("a", "@daily", "tide", policy={"overlap": "queue", "grace": 5})
        assert counter.client.update("a", policy={"grace": None}).job.policy.to_dict() == {"overlap": "queue"}

    def test_misfire_takes_the_form_with_a_number(self, counter: Counter) -> None:
        counter.client.add("a", "@daily", "tide", policy={"misfire": "run_all(3)"})
        policy = counter.client.update("a", policy={"misfire": "run_all(7)"}).job.policy
        assert (policy.misfire, policy.misfire_max) == ("run_all", 7)

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"schedule": ""}, ScheduleError), ({"schedule": "in -5m"}, ScheduleError),
            ({"timezone": ""}, ScheduleError), ({"anchor": ""}, ScheduleError),
            ({"task": ""}, TaskNotFound), ({"task": "none"}, TaskNotFound), ({"args": {"x": 1}}, TaskInvalid),
            ({"task": "publish"}, TaskInvalid), ({"policy": {"repeat": 0}}, JobInvalid),
            ({"args": [1]}, JobInvalid), ({"if_revision": 7}, JobStateError),
        ],
    )  # fmt: skip
    def test_refuses_what_cannot_be_and_changes_nothing(
        self, counter: Counter, changes: dict[str, Any], error: type[HermesCronError]
    ) -> None:
        before = counter.client.add("a", "@daily", "tide").job
        with pytest.raises(error):
            counter.client.update("a", **changes)
        assert counter.job() == before

    def test_two_racing_updates_both_land(self, counter: Counter) -> None:
        counter.client.add("a", "@daily", "tide")
        ready = threading.Barrier(2)

        def update(policy: dict[str, Any]) -> None:
            ready.wait(60)
            counter.client.update("a", policy=policy)

        threads = [threading.Thread(target=update, args=(policy,)) for policy in ({"grace": 7.0}, {"overlap": "queue"})]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert counter.job().policy.to_dict() == {"grace": 7.0, "overlap": "queue"}
        assert counter.job().revision == 3

    def test_of_two_at_one_revision_one_lands(self, counter: Counter) -> None:
        revision = counter.client.add("a", "@daily", "tide").job.revision
        counter.client.update("a", policy={"grace": 1.0}, if_revision=revision)
        with pytest.raises(JobStateError, match="changed meanwhile"):
            counter.client.update("a", policy={"grace": 2.0}, if_revision=revision)
        assert counter.job().policy.grace == 1.0

    def test_a_job_of_a_task_that_is_gone_can_still_be_edited(self, counter: Counter) -> None:
        add(counter.store, "a", task="gone")
        assert counter.client.update("a", policy={"grace": 1.0}).job.task == "gone"


class TestOneJob:
    @pytest.mark.parametrize(
        "call",
        [
            lambda client: client.get("x"), lambda client: client.record("x"), lambda client: client.update("x"),
            lambda client: client.pause("x"), lambda client: client.resume("x"), lambda client: client.remove("x"),
            lambda client: client.run("x"),
        ],
    )  # fmt: skip
    def test_an_unknown_id_is_told(self, counter: Counter, call: Callable[[Client], object]) -> None:
        with pytest.raises(JobNotFound, match="no job 'x'"):
            call(counter.client)

    def test_pauses_and_resumes(self, counter: Counter) -> None:
        counter.client.add("a", "every 15m", "tide")
        paused = counter.client.pause("a", "by Ann").job
        assert (paused.state, paused.reason, paused.next_fire_at) == ("paused", "by Ann", None)
        counter.clock.advance(3600)
        resumed = counter.client.resume("a").job
        assert (resumed.state, resumed.next_fire_at) == ("scheduled", NOON + timedelta(minutes=75))
        assert counter.scheduler.said == ["changed a"] * 3

    def test_removes(self, counter: Counter) -> None:
        counter.client.add("a", "@daily", "tide")
        assert counter.client.remove("a").job.id == "a"
        assert counter.client.list() == []
        with pytest.raises(JobNotFound):
            counter.client.remove("a")
        assert counter.scheduler.said == ["changed a"] * 2

    def test_runs_now_and_rings_once_it_is_written(self, counter: Counter) -> None:
        counter.client.add("a", "@daily", "tide")
        seen: list[object] = []
        counter.client._bell = lambda fire: seen.append((fire, counter.store.fires("a")[0].state))
        ran = counter.client.run("a")
        assert ran.fire is not None
        assert (ran.fire.manual, ran.fire.state) == (True, "waiting")
        assert seen == [(Fire("a", kind="manual"), "waiting")]
        run = counter.claimed()
        assert (run.manual, run.key) == (True, ran.fire.key)

    @pytest.mark.parametrize("state", ["paused", "stopped"])
    def test_a_closed_job_cannot_be_run(self, counter: Counter, state: str) -> None:
        counter.client.add("a", "@daily", "tide")
        if state == "paused":
            counter.client.pause("a")
        else:
            counter.store.set_stopped(True)
        with pytest.raises(JobStateError, match=state):
            counter.client.run("a")
        assert counter.rung == []

    def test_a_bell_that_cannot_be_rung_is_no_failure(self, counter: Counter) -> None:
        def fail(fire: Fire) -> None:
            raise BrokerError("gone")

        counter.client.add("a", "@daily", "tide")
        counter.client._bell = fail
        assert counter.client.run("a").fire is not None

    def test_finds_runs_and_fires(self, counter: Counter) -> None:
        counter.client.add("a", "every 15m", "tide")
        counter.clock.advance(900)
        run = counter.claimed()
        assert counter.client.find_run(run.id).id == run.id
        assert [found.id for found in counter.client.runs("a")] == [run.id]
        assert [str(fire.state) for fire in counter.client.fires("a")] == ["running"]
        assert counter.client.record("a").open_runs[0].id == run.id
        with pytest.raises(RunNotFound, match="no run 'x'"):
            counter.client.find_run("x")

    def test_works_with_the_built_in_scheduler(self, store: Store) -> None:
        client = Client(store, InProcessCronScheduler(), TASKS)
        assert client.add("a", "@daily", "tide").armed
        assert client.remove("a").armed


class TestUpcoming:
    def test_tells_the_next_fires(self, counter: Counter) -> None:
        job = counter.client.add("a", "every 15m", "tide").job
        assert upcoming(job, 3) == [NOON + timedelta(minutes=15 * number) for number in (1, 2, 3)]

    def test_tells_no_more_than_repeat_allows(self, counter: Counter) -> None:
        job = counter.client.add("a", "every 15m", "tide", policy={"repeat": 2}).job
        assert len(upcoming(job, 5)) == 2

    def test_tells_one_where_the_next_hangs_on_a_runs_end(self, counter: Counter) -> None:
        job = counter.client.add("a", "every 15m", "tide", anchor="completion").job
        assert len(upcoming(job, 5)) == 1

    def test_tells_none_of_a_paused_job(self, counter: Counter) -> None:
        counter.client.add("a", "every 15m", "tide")
        assert upcoming(counter.client.pause("a").job, 5) == []
