"""`hermes-cron simulate`: time passes over your jobs, and nothing of them is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_cron.cli.jobs_file import jobs_in
from hermes_cron.errors import ConfigError, JobInvalid
from tests.unit.cli.conftest import Cli

FROM = ("--from", "2026-03-27T00:00:30Z")
JOBS = """
jobs:
  backup:
    schedule: daily at 01:30
    timezone: Europe/Lisbon
  poll:
    schedule: every 1h
    overlap: queue
    grace: 10m
    max_attempts: 2
  once: {schedule: in 3h, args: {a: 1}, task: tide}
"""


@pytest.fixture
def file(here: Path) -> Path:
    (here / "jobs.yaml").write_text(JOBS)
    return here / "jobs.yaml"


def test_it_tells_a_line_for_each_job_and_a_closing_table(cli: Cli, file: Path) -> None:
    said = cli.good("simulate", "--days", "5", "--jobs", str(file), *FROM).out
    lines = {line.split()[0]: line.split() for line in said.splitlines() if line}
    assert lines["backup"] == ["backup", "daily", "at", "01:30", "5", "0", "0", "-", "0", "0", "2s"]
    assert lines["poll"][3] == "119", "hourly from the start on, before the end"
    assert "clocks: Europe/Lisbon 2026-03-29 02:00, 60 minutes forward" in said
    assert "clocks: backup: 01:30 does not exist on 2026-03-29 in Europe/Lisbon; it fires at 02:00." in said
    assert lines["cold"][2] == "123", "two of 125 fires find the agent awake: `once`, and the one that was moved"
    assert "calls to NAS" in said
    assert "ladder  " not in said.replace("for the ladder", ""), "nothing went wrong, so nothing is said of it"


def test_with_json_it_tells_all_of_it_to_a_program(cli: Cli, file: Path) -> None:
    found = cli.good(
        "simulate", "--days", "60", "--faults", "all", "--seed", "3", "--jobs", str(file), "--json", *FROM
    ).json
    jobs = {job["id"]: job for job in found["jobs"]}
    assert (jobs["once"]["succeeded"], jobs["once"]["missed"]) == (1, 0)
    assert sum(jobs["poll"][state] for state in ("succeeded", "missed", "skipped", "interrupted", "failed")) == 1439
    assert found["outages"] > 0
    assert found["crashes"] > 0
    assert found["dead_since"] is None
    assert found["nas_calls"]["ladder"] > 0
    assert found["clock_changes"] == [{"timezone": "Europe/Lisbon", "at": "2026-03-29T01:00:00+00:00", "minutes": 60}]
    assert list(found["warnings"]) == ["backup"]


def test_it_takes_the_jobs_of_the_store_and_those_the_app_declares_and_changes_nothing(cli: Cli, here: Path) -> None:
    cli.add("kept", "every 5m")
    before = cli.kept()
    (here / "port.py").write_text(
        "from hermes_cron.app import HermesCron\n\napp = HermesCron('port')\n\n\n"
        "@app.cron('0 6 * * *')\ndef morning(): ...\n"
    )
    found = cli.good("simulate", "--days", "2", "--json", "-A", "port:app").json
    jobs = {job["id"]: job for job in found["jobs"]}
    assert jobs["port.morning"]["runs"] == 2
    assert jobs["kept"]["runs"] in (575, 576)
    assert cli.kept() == before


def test_it_notes_that_everything_is_stopped(cli: Cli) -> None:
    cli.add("kept", "every 5m")
    cli.good("stop")
    answer = cli.good("simulate", "--days", "1")
    assert "everything is stopped" in answer.err
    assert "kept" in answer.out


def test_its_help_shows_examples_a_line_each(cli: Cli) -> None:
    assert "\n  hermes-cron simulate --days 400\n" in cli.good("simulate", "--help").out


def test_without_a_job_it_says_so(cli: Cli) -> None:
    assert "There are no jobs to simulate." in cli.good("simulate", "--days", "1").out


def test_the_ladder_that_is_configured_is_used(cli: Cli, here: Path) -> None:
    (here / "jobs.yaml").write_text("a: {schedule: every 1h}")
    simulate = ("simulate", "--days", "90", "--faults", "all", "--jobs", "jobs.yaml", *FROM)
    bare = cli.good("--set", "cron.chronos.ladder=[]", *simulate).out
    with_ladder = cli.good("--set", "cron.chronos.ladder=[15m, 3h, 24h]", *simulate).out
    assert "nothing wakes the agent" in bare
    assert "nothing wakes the agent" not in with_ladder


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--days", "0"), "--days must be a whole number from 1 to 3660"),
        (("--from", "yesterday"), "--from: 'yesterday' is not an ISO 8601 instant"),
        (("--seed", "x"), "--seed must be a whole number"),
        (("--jobs", "nowhere.yaml"), "nowhere.yaml cannot be read"),
    ],
)
def test_it_refuses_what_it_cannot_read(cli: Cli, args: tuple[str, ...], words: str) -> None:
    answer = cli("simulate", *args)
    assert answer.code in (2, 78)
    assert words in answer.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no jobs"),
        ("jobs: {}", "has no jobs"),
        ("- a", "has no jobs"),
        ("jobs:\n  a: {task: t}", "line 2: the job 'a' has no schedule"),
        ("jobs:\n  a:\n    schedule: hourly\n    overlay: skip", "line 4: 'overlay' is nothing that a job has"),
        ("a: {schedule: hourly, args: [1]}", "line 1: args must be a mapping"),
        ("a: {schedule: hourly, grace: soon}", "--grace"),
    ],
)
def test_a_file_of_jobs_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(text)
    with pytest.raises((JobInvalid, ConfigError), match=words):
        jobs_in(file)


def test_a_job_that_cannot_be_is_named(cli: Cli, here: Path) -> None:
    (here / "jobs.yaml").write_text("a: {schedule: never}\n")
    answer = cli("simulate", "--jobs", "jobs.yaml")
    assert answer.code == 2
    assert "a: " in answer.err
