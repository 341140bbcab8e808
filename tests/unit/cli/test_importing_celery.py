"""`jobs import celery`: an app's beat_schedule, with the real Celery where it is installed, and beat's jobs in files.

The stand-in has of Celery what the import looks at, under Celery's own names; the same tests pass with the real one.
"""

from __future__ import annotations

import importlib.util
import io
import json
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hermes_cron.cli.beat import job_id_for
from hermes_cron.cli.beat_cron import FIELDS, cron_text
from hermes_cron.interfaces import Store
from hermes_cron.schedule import Schedule
from tests.unit.cli.conftest import Answer, Cli

STAND_IN = {
    "celery/__init__.py": "from celery.app.base import Celery\n",
    "celery/app/__init__.py": "",
    "celery/app/base.py": """
import importlib, types


class Loader:
    def __init__(self, include):
        self.include = include

    def import_default_modules(self):
        for name in self.include:
            importlib.import_module(name)


class Celery:
    def __init__(self, main, broker=None, include=()):
        self.conf = types.SimpleNamespace(
            timezone=None, enable_utc=True, beat_schedule={}, beat_scheduler="celery.beat:PersistentScheduler"
        )
        self.loader, self.late = Loader(include), []
        self.on_after_finalize = types.SimpleNamespace(connect=self.late.append)

    def finalize(self):
        for hear in self.late:
            hear(self)
""",
    "celery/schedules.py": """
class schedule:
    def __init__(self, run_every=None, relative=False):
        self.run_every, self.relative = run_every, relative


class crontab:
    def __init__(self, minute="*", hour="*", day_of_week="*", day_of_month="*", month_of_year="*", nowfun=None):
        self._orig_minute, self._orig_hour, self._orig_day_of_week = minute, hour, day_of_week
        self._orig_day_of_month, self._orig_month_of_year, self.nowfun = day_of_month, month_of_year, nowfun


class solar:
    def __init__(self, event, lat, lon):
        self.event, self.lat, self.lon = event, lat, lon
""",
}

PROJ = """
from datetime import datetime, timedelta, timezone

from celery import Celery
from celery.schedules import crontab, schedule

app = Celery("proj", broker="memory://", include=["proj.tasks"])


class Tidal(crontab): ...


def entry(schedule, task="tide", args=("Lisbon",), **more):
    return {"task": task, "schedule": schedule, "args": args, **more}


app.conf.timezone = "Europe/Lisbon"
app.conf.beat_schedule = {
    "morning": entry(crontab(minute=30, hour=6, day_of_week="mon-fri"), options={"expires": 300, "queue": "sea"}),
    "first monday": entry(crontab(0, 9, day_of_week=1, day_of_month="1-7"), kwargs={"units": "ft"}),
    "sunday": entry(crontab(0, 9, day_of_week=0)),
    "night": entry(crontab(minute={0, 30}, hour="22-2")),
    "often": entry(30.0),
    "hours": entry(timedelta(hours=2), relative=True),
    "daily": entry(schedule(timedelta(days=1)), options={"time_limit": 60, "soft_time_limit": 30}),
    "until": entry(60, options={"expires": datetime(2090, 1, 1, tzinfo=timezone.utc)}),
    "friday 13": entry(crontab(0, 9, day_of_week="fri", day_of_month=13)),
    "half": entry(0.5),
    "tidal": entry(Tidal(0)),
    "clock": entry(crontab(0, nowfun=datetime.now)),
    "gone": entry(60, task="proj.gone"),
    "many": entry(60, args=("Lisbon", "m", 3)),
    "twice": entry(60, kwargs={"place": "Porto"}),
    "lazy": entry(60, args=(datetime.now,)),
    "cleanup": entry(60, task="celery.backend_cleanup"),
}
"""

TASKS = """
from proj.celery import app


@app.on_after_finalize.connect
def more(sender, **kw):
    sender.conf.beat_schedule["by code"] = {"task": "tide", "schedule": 20, "args": ["Sines"]}
"""


@pytest.fixture(params=["stand-in", "real"])
def proj(request: pytest.FixtureRequest, here: Path) -> Iterator[Path]:
    """A Celery project in the current folder."""
    real = request.param == "real"
    if real and importlib.util.find_spec("celery") is None:
        pytest.skip("Celery is not installed")
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "celery" and not real}
    files = {"proj/__init__.py": "", "proj/celery.py": PROJ, "proj/tasks.py": TASKS, **({} if real else STAND_IN)}
    for name, text in files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    yield here
    for name in [name for name in sys.modules if name.split(".")[0] in ("proj", *([] if real else ["celery"]))]:
        del sys.modules[name]
    sys.modules.update(before)


def celery(cli: Cli, *args: str) -> Answer:
    return cli("-A", "harbour:app", "jobs", "import", "celery", *args)


def rows_of(answer: Answer) -> dict[str, dict[str, Any]]:
    return {row["from"]: row for row in answer.json}


@pytest.mark.parametrize("spec", ["proj", "proj.celery", "proj.celery:app", "proj.celery.app"])
def test_it_finds_the_app_as_celery_does(cli: Cli, proj: Path, spec: str) -> None:
    answer = celery(cli, "-A", spec, "--dry-run", "--json")
    assert rows_of(answer)["morning"]["done"] == "would be added"
    assert cli.good("jobs", "list", "--json").json == []


def test_it_brings_what_an_app_declares(cli: Cli, proj: Path, store: Store) -> None:
    answer = celery(cli, "-A", "proj", "--json")
    assert answer.code == 1, "some were left out"
    rows = rows_of(answer)
    jobs = {name: store.read(row["id"]).job for name, row in rows.items() if row["id"]}
    assert {name: (job.schedule.text, job.schedule.timezone) for name, job in jobs.items()} == {
        "morning": ("30 6 * * MON-FRI", "Europe/Lisbon"), "first monday": ("0 9 * * MON#1", "Europe/Lisbon"),
        "sunday": ("0 9 * * 0", "Europe/Lisbon"), "night": ("0,30 0,1,2,22,23 * * *", "Europe/Lisbon"),
        "often": ("every 30s", "UTC"), "hours": ("every 2h", "UTC"), "daily": ("every 1d", "UTC"),
        "until": ("every 1m", "UTC"), "by code": ("every 20s", "UTC"),
    }  # fmt: skip
    assert (jobs["morning"].task, dict(jobs["morning"].args)) == ("tide", {"place": "Lisbon"})
    assert dict(jobs["first monday"].args) == {"place": "Lisbon", "units": "ft"}
    assert jobs["first monday"].id == job_id_for("first monday") != "first monday"
    assert (jobs["morning"].policy.grace, jobs["daily"].policy.timeout) == (300, 30)
    assert jobs["until"].policy.ends_at == datetime(2090, 1, 1, tzinfo=UTC)
    assert rows["morning"]["lost"] == ["expires is its grace", "queue is not taken along"]
    assert "both matched" in rows["first monday"]["lost"][0]
    assert "relative" in rows["hours"]["lost"][0]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("friday 13", "both match (13 and FRI)"), ("half", "no whole number of seconds"),
        ("tidal", "proj.celery.Tidal"), ("clock", "nowfun"), ("gone", "no task 'proj.gone'"),
        ("many", "no names for all 3"), ("twice", "no names for all 1"), ("lazy", "worked out anew"),
        ("cleanup", "results of Celery"),
    ],
)  # fmt: skip
def test_it_names_what_it_leaves_out_and_why(cli: Cli, proj: Path, name: str, why: str) -> None:
    row = rows_of(celery(cli, "-A", "proj", "--dry-run", "--json"))[name]
    assert (row["done"], row["id"]) == ("left out", None)
    assert why in row["why"]


@pytest.mark.parametrize(
    ("line", "zone"),
    [
        ("app.conf.timezone = None", "UTC"),
        ("app.conf.timezone = None; app.conf.enable_utc = False", "Asia/Tokyo"),
    ],
)
def test_it_takes_the_zone_that_celery_went_by(cli: Cli, proj: Path, line: str, zone: str) -> None:
    file = proj / "proj" / "celery.py"
    file.write_text(f"{file.read_text()}\n{line}\n")
    row = rows_of(celery(cli, "-A", "proj", "--dry-run", "--json", "--timezone", "Asia/Tokyo"))["sunday"]
    assert row["timezone"] == zone
    assert [words for words in row["lost"] if "the clock of its machine" in words] == row["lost"]
    assert bool(row["lost"]) is (zone != "UTC")


def test_it_tells_of_a_beat_that_keeps_its_jobs_elsewhere(cli: Cli, proj: Path) -> None:
    file = proj / "proj" / "celery.py"
    scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
    file.write_text(f"{file.read_text()}\napp.conf.beat_scheduler = '{scheduler}'\n")
    answer = celery(cli, "-A", "proj", "--dry-run", "--json")
    assert scheduler in answer.err
    assert "dumpdata" in answer.err


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ((), 2, "one of the two"), (("-A", "proj", "-"), 2, "one of the two"),
        (("-A", "nowhere"), 78, "No module named 'nowhere'"), (("-A", "harbour:app"), 78, "stands before `jobs`"),
        (("-A", "proj.celery:Tidal"), 78, "no Celery app"), (("-A", "proj:none"), 78, "no attribute 'none'"),
    ],
)  # fmt: skip
def test_it_refuses_what_is_no_app_in_one_sentence(
    cli: Cli, proj: Path, args: tuple[str, ...], code: int, words: str
) -> None:
    answer = celery(cli, *args)
    assert answer.code == code
    assert words in answer.err
    assert "Traceback" not in answer.err


def test_a_fault_in_the_tasks_of_the_project_is_named(cli: Cli, proj: Path) -> None:
    (proj / "proj" / "tasks.py").write_text("raise RuntimeError('no database')")
    answer = celery(cli, "-A", "proj")
    assert answer.code == 78
    assert "RuntimeError: no database" in answer.err


def row(pk: int, name: str, **fields: Any) -> dict[str, Any]:
    """A periodic task as `dumpdata` writes it."""
    values = {
        "name": name, "task": "tide", "interval": None, "crontab": None, "solar": None, "clocked": None,
        "args": '["Lisbon"]', "kwargs": "{}", "queue": None, "exchange": None, "routing_key": None, "headers": "{}",
        "priority": None, "expires": None, "expire_seconds": None, "one_off": False, "start_time": None,
        "enabled": True, "last_run_at": None, "total_run_count": 0, "date_changed": "2026-11-25T21:07:01.638Z",
        "description": "", **fields,
    }  # fmt: skip
    return {"model": "django_celery_beat.periodictask", "pk": pk, "fields": values}


def table(model: str, pk: int, **fields: Any) -> dict[str, Any]:
    return {"model": f"django_celery_beat.{model}", "pk": pk, "fields": fields}


TABLES = [
    table("crontabschedule", 1, minute="30", hour="6", day_of_month="*", month_of_year="*", day_of_week="1-5",
          timezone="Europe/Lisbon"),
    table("intervalschedule", 1, every=10, period="minutes"),
    table("intervalschedule", 2, every=3, period="microseconds"),
    table("clockedschedule", 1, clocked_time="2090-01-31T09:00:00Z"),
    table("clockedschedule", 2, clocked_time="2020-01-31T09:00:00Z"),
    table("solarschedule", 1, event="sunset", latitude="38.720000", longitude="-9.130000"),
    table("periodictasks", 1, last_update="2026-11-25T21:07:02.095Z"),
]  # fmt: skip


def test_it_brings_the_rows_of_django(cli: Cli, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        *TABLES, row(1, "morning report", crontab=1, kwargs='{"units": "ft"}', expire_seconds=300, priority=3),
        row(2, "off", crontab=1, enabled=False), row(3, "launch", clocked=1, one_off=True),
        row(4, "window", interval=1, start_time="2089-01-01T00:00:00Z", expires="2090-01-01T00:00:00Z"),
        row(5, "one morning", crontab=1, one_off=True, description="why"),
    ]  # fmt: skip
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(rows).encode())))
    answer = celery(cli, "-", "--json")
    assert answer.code == 0, answer.err
    jobs = {name: store.read(row["id"]).job for name, row in rows_of(answer).items()}
    assert [(job.schedule.kind, job.policy.repeat, str(job.state)) for job in jobs.values()] == [
        ("cron", None, "scheduled"), ("cron", None, "paused"), ("once", None, "scheduled"),
        ("every", None, "scheduled"), ("cron", 1, "scheduled"),
    ]  # fmt: skip
    assert (jobs["morning report"].schedule.timezone, jobs["morning report"].policy.grace) == ("Europe/Lisbon", 300)
    assert dict(jobs["morning report"].args) == {"place": "Lisbon", "units": "ft"}
    assert (jobs["off"].reason, jobs["off"].next_fire_at) == ("paused where it came from", None)
    assert jobs["launch"].next_fire_at == datetime(2090, 1, 31, 9, tzinfo=UTC)
    assert jobs["window"].next_fire_at == datetime(2089, 1, 1, tzinfo=UTC)
    assert jobs["window"].policy.ends_at == datetime(2090, 1, 1, tzinfo=UTC)
    assert rows_of(answer)["one morning"]["lost"] == ["description is not taken along"]
    assert cli.good("jobs", "resume", "off").code == 0


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "no schedule"), ({"crontab": 7}, "crontab 7 is not in the file"), ({"solar": 1}, "sunset at 38.72"),
        ({"interval": 2}, "whole number of seconds"), ({"clocked": 2, "one_off": True}, "in the past"),
        ({"crontab": 1, "args": "[1"}, "no JSON"), ({"crontab": 1, "args": "{}"}, "no list"),
        ({"crontab": 1, "task": None}, "no task"), ({"crontab": 1, "args": "[]"}, "missing a required argument"),
    ],
)  # fmt: skip
def test_it_names_the_rows_it_leaves_out_and_why(cli: Cli, tmp_path: Path, fields: dict[str, Any], why: str) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([*TABLES, row(1, "good", interval=1), row(2, "bad", **fields)]))
    for flags in (("--dry-run",), ()):
        answer = celery(cli, str(file), "--json", *flags)
        assert answer.code == 1
        assert why in rows_of(answer)["bad"]["why"]
    assert [job["id"] for job in cli.good("jobs", "list", "--json").json] == ["good"]


def test_it_takes_a_beat_schedule_written_as_json(cli: Cli, tmp_path: Path, store: Store) -> None:
    file = tmp_path / "beat.json"
    entries = {
        "a": {"task": "tide", "schedule": {"minute": "0", "hour": [6, 18]}, "args": ["Lisbon"]},
        "b": {"task": "tide", "schedule": 90, "kwargs": {"place": "Porto"}},
        "c": {"task": "tide", "schedule": "<crontab: 0 6 * * *>"}, "d": 3,
    }  # fmt: skip
    file.write_text(json.dumps({"timezone": "Europe/Lisbon", "beat_schedule": entries}))
    answer = celery(cli, str(file), "--json")
    assert [row["done"] for row in answer.json] == ["added", "added", "left out", "left out"]
    assert (store.read("a").job.schedule.text, store.read("b").job.schedule.text) == ("0 6,18 * * *", "every 90s")
    assert store.read("a").job.schedule.timezone == "Europe/Lisbon"


@pytest.mark.parametrize("content", [b"", b"[1, 2", b'"x"', b"{}", b"\x80\x05\x95 a pickle", b"SQLite format 3\0\xff"])
def test_what_is_no_such_file_is_refused_and_no_pickle_is_opened(cli: Cli, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "celerybeat-schedule"
    file.write_bytes(content)
    answer = celery(cli, str(file))
    assert answer.code == 2
    assert "is not opened: name the app with -A instead" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "* * * * *"), ({"minute": "*/15"}, "*/15 * * * *"), ({"minute": "0-59"}, "* * * * *"),
        ({"hour": "22-2"}, "* 0,1,2,22,23 * * *"), ({"day_of_week": "fri-mon"}, "* * * * 0,1,5,6"),
        ({"day_of_week": "Sunday"}, "* * * * 0"), ({"month_of_year": "jan,dec"}, "* * * JAN,DEC *"),
        ({"minute": "5-5/2"}, "5 * * * *"), ({"minute": [0, 30]}, "0,30 * * * *"), ({"minute": 0}, "0 * * * *"),
        ({"day_of_month": "1-7,15-21", "day_of_week": "1"}, "* * * * MON#1,MON#3"),
        ({"day_of_month": "29-31", "day_of_week": "6,0"}, "* * * * SUN#5,SAT#5"),
        ({"day_of_month": "*/2", "day_of_week": "1"}, "* * */2 * 1"),
        ({"day_of_month": "1-31", "day_of_week": "1"}, "* * * * 1"),
        ({"day_of_month": "13", "day_of_week": "0-6"}, "* * 13 * *"),
    ],
)  # fmt: skip
def test_it_writes_the_fields_of_celery_so_that_cron_means_the_same(fields: dict[str, Any], text: str) -> None:
    assert cron_text(fields)[0] == text


@pytest.mark.parametrize(
    "fields",
    [
        {"minute": "60"}, {"day_of_week": "7"}, {"minute": "*/0"}, {"hour": "a"}, {"minute": "5/15"}, {"minute": ""},
        {"minute": []}, {"minute": None}, {"month_of_year": "mon"}, {"day_of_month": "2-7", "day_of_week": "1"},
    ],
)  # fmt: skip
def test_it_refuses_fields_that_cron_cannot_mean(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"its |both match"):
        cron_text(fields)


def test_it_fires_when_celery_does() -> None:
    celery, schedules = (pytest.importorskip(name) for name in ("celery", "celery.schedules"))
    app = celery.Celery("tides", broker="memory://", set_as_current=False)
    drawn = random.Random(7)
    ranges = {
        "minute": (0, 59),
        "hour": (0, 23),
        "day_of_month": (1, 31),
        "month_of_year": (1, 12),
        "day_of_week": (0, 6),
    }

    def field(name: str) -> object:
        low, high = ranges[name]
        first, last, step = drawn.randint(low, high), drawn.randint(low, high), drawn.randint(1, 9)
        forms = ["*", "*", f"*/{step}", first, {first, last}, f"{first}-{last}", f"{first}-{last}/{step},{last}"]
        return drawn.choice([*forms, *(["1-7", "8-14,22-28"] if name == "day_of_month" else [])])

    compared = 0
    for _ in range(400):
        fields = {name: field(name) for name in FIELDS}
        try:
            theirs = schedules.crontab(**fields, app=app)
            text, _ = cron_text({name: getattr(theirs, f"_orig_{name}") for name in FIELDS})
        except ValueError:
            continue
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=drawn.randint(0, 525_600))
        for _ in range(3):
            theirs.nowfun = lambda now=at: now
            start, wait, _ = theirs.remaining_delta(at)
            fire = Schedule("cron", text).next_after(at)
            assert fire == start + wait, (fields, text)
            at = fire
        compared += 1
    assert compared > 200
