"""`HermesCron`: a declaration. What it refuses, it refuses where it is written; it opens nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from hermes_cron.app import HermesCron
from hermes_cron.errors import HermesCronError, JobExists, JobInvalid, ScheduleError, TaskInvalid
from hermes_cron.task import Task


@pytest.fixture
def app() -> HermesCron:
    return HermesCron("reports")


def tide(place: str = "north", *, units: str = "m") -> str:
    return f"{place} {units}"


@pytest.mark.parametrize("name", ["", "9", "a b", "é", "a/b", "x" * 65, None, 3])
def test_refuses_these_names(name: Any) -> None:
    with pytest.raises(TaskInvalid, match="cannot name an app"):
        HermesCron(name)


def test_declares_a_task_by_its_function(app: HermesCron) -> None:
    task = app.task(tide)
    assert app.tasks == {f"{__name__}.tide": task}
    assert task("south", units="ft") == "south ft"


def test_declares_a_task_with_options(app: HermesCron) -> None:
    task = app.task(name="tide", timeout=600, bind=True)(tide)
    assert (task.name, task.timeout, task.bind) == ("tide", 600, True)


def test_refuses_two_tasks_of_one_name(app: HermesCron) -> None:
    app.task(tide)
    with pytest.raises(TaskInvalid, match="two tasks"):
        app.task(tide)
    app.task(name="other")(tide)


def test_refuses_a_coroutine(app: HermesCron) -> None:
    async def wave() -> None:
        return

    with pytest.raises(TaskInvalid, match=r"asyncio\.run"):
        app.task(wave)
    with pytest.raises(TaskInvalid):
        app.cron("@daily")(wave)
    assert not app.jobs


def test_declares_a_task_and_a_job_in_one(app: HermesCron) -> None:
    task = app.cron("0 6 * * 1-5", timezone="Europe/Lisbon", overlap="skip", args={"place": "south"})(tide)
    job = app.jobs["reports.tide"]
    assert (job.task, job.schedule, job.timezone) == (task.name, "0 6 * * 1-5", "Europe/Lisbon")
    assert (job.args, job.policy, job.anchor) == ({"place": "south"}, {"overlap": "skip"}, "fire")
    assert task() == "north m"
    assert list(app.tasks) == [f"{__name__}.tide"]


def test_takes_an_id(app: HermesCron) -> None:
    app.cron("@daily", id="a")(tide)
    assert list(app.jobs) == ["a"]


def test_declares_several_jobs_of_one_task(app: HermesCron) -> None:
    task = app.task(name="tide")(tide)
    app.cron("@daily", id="a", args={"place": "a"})(app.cron("@hourly", id="b")(task))
    assert {job.id: job.task for job in app.jobs.values()} == {"a": "tide", "b": "tide"}
    assert list(app.tasks) == ["tide"]


def test_names_a_job_after_its_task(app: HermesCron) -> None:
    app.cron("@daily")(app.task(name="north.tide")(tide))
    assert list(app.jobs) == ["reports.tide"]


def test_refuses_a_task_of_another_app(app: HermesCron) -> None:
    with pytest.raises(TaskInvalid, match="other"):
        app.cron("@daily")(HermesCron("other").task(name="other")(tide))
    with pytest.raises(TaskInvalid):
        app.cron("@daily")(Task("other", tide))


def test_refuses_two_jobs_of_one_id(app: HermesCron) -> None:
    app.cron("@daily", id="a")(tide)
    with pytest.raises(JobExists, match="two jobs 'a'"):
        app.cron("@hourly", id="a")(tide)


@pytest.mark.parametrize(
    ("schedule", "options", "field"),
    [
        ("61 * * * *", {}, "schedule"), ("every 0s", {}, "schedule"), ("whenever", {}, "schedule"),
        ("", {}, "schedule"), (None, {}, "schedule"), ("0 0 31 2 *", {}, "schedule"),
        ("@daily", {"timezone": "Mars/Base"}, "timezone"), ("@daily", {"timezone": ""}, "timezone"),
        ("every 5m", {"anchor": "moon"}, "anchor"), ("@daily", {"anchor": "completion"}, "anchor"),
    ],
)  # fmt: skip
def test_refuses_a_schedule_where_it_is_written(app: HermesCron, schedule: Any, options: Any, field: str) -> None:
    with pytest.raises(ScheduleError) as told:
        app.cron(schedule, **options)
    assert told.value.field == field


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"overlap": "sometimes"}, "overlap"), ({"overlaps": "skip"}, "overlaps"), ({"timeout": -1}, "timeout"),
        ({"repeat": 0}, "repeat"), ({"args": {"a": object()}}, "args"), ({"args": {1: 2}}, "args"),
        ({"args": [1]}, "args"), ({"args": {"a": float("nan")}}, "args"), ({"jitter": 86_400}, "jitter"),
        ({"starts_at": "tomorrow"}, "starts_at"),
    ],
)  # fmt: skip
def test_refuses_a_job_that_cannot_be(app: HermesCron, options: dict[str, Any], field: str) -> None:
    with pytest.raises(JobInvalid) as told:
        app.cron("@daily", **options)
    assert told.value.field == field


@pytest.mark.parametrize("job_id", ["_a", ".a", "a b", "x" * 256, "_wake.1"])
def test_refuses_these_ids(app: HermesCron, job_id: str) -> None:
    with pytest.raises(JobInvalid):
        app.cron("@daily", id=job_id)(tide)
    assert not app.jobs


def test_refuses_arguments_that_the_function_does_not_take(app: HermesCron) -> None:
    with pytest.raises(TaskInvalid, match="It takes"):
        app.cron("@daily", args={"wrong": 1})(tide)
    assert not app.jobs


@pytest.mark.parametrize("schedule", ["2001-01-01T00:00:00Z", "2001-01-01 00:00", "in 30m", "2099-01-01T09:00"])
def test_a_one_shot_of_the_past_does_not_break_the_import(app: HermesCron, schedule: str) -> None:
    app.cron(schedule)(tide)
    assert app.jobs["reports.tide"].schedule == schedule


def test_its_tasks_and_jobs_are_read_only(app: HermesCron) -> None:
    for mapping in (app.tasks, app.jobs):
        with pytest.raises(TypeError):
            mapping["a"] = None  # type: ignore[index]  # as is tried.


def test_keeps_the_arguments_it_was_given(app: HermesCron) -> None:
    args = {"place": "a"}
    app.cron("@daily", args=args)(tide)
    args["place"] = "b"
    assert app.jobs["reports.tide"].args == {"place": "a"}


def test_every_refusal_can_be_caught_as_one() -> None:
    for error in (TaskInvalid, JobInvalid, JobExists, ScheduleError):
        assert issubclass(error, HermesCronError)


def test_imports_no_room() -> None:
    script = (
        "import sys, hermes_cron.app\n"
        "rooms = 'store transport verify providers webhook worker firing client bootstrap outbound'.split()\n"
        "print([r for r in rooms if f'hermes_cron.{r}' in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=90, check=True)
    assert ran.stdout.strip() == "[]"
