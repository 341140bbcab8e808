"""`jobs import`: what comes along from other programs, what does not, and that each of it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hermes_cron.interfaces import Store
from tests.unit.cli.conftest import Answer, Cli

CRON = {"kind": "cron", "expr": "15 6 * * 1-5", "display": "15 6 * * 1-5"}


def record(job_id: str, **more: Any) -> dict[str, Any]:
    return {
        "id": job_id, "name": "tide report", "prompt": "Post the low water times.", "skills": [], "script": None,
        "schedule": CRON, "repeat": {"times": None, "completed": 0}, "deliver": "local", "enabled": True,
        "state": "scheduled", "next_run_at": "2026-10-08T06:15:00+02:00", "fire_claim": None, **more,
    }  # fmt: skip


def hermes(cli: Cli, tmp_path: Path, *records: Any, flags: tuple[str, ...] = ()) -> Answer:
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps({"jobs": records, "updated_at": "2026-10-07T06:15:41+02:00"}))
    return cli("jobs", "import", "hermes", str(file), "--json", *flags)


def test_it_brings_the_prompts_of_an_agent_under_their_ids(cli: Cli, tmp_path: Path, store: Store) -> None:
    answer = hermes(
        cli, tmp_path, record("5f0c9a17be42", repeat={"times": 20, "completed": 3}, model="sonata-2"),
        record("aaaa9a17be42", schedule={"kind": "interval", "minutes": 90}, enabled=False),
        record("bbbb9a17be42", schedule={"kind": "once", "run_at": "2090-10-07T06:15:00+02:00"}),
        record("cccc9a17be42", schedule={"kind": "cron", "expr": "0 6 * * * 30"}, skills=["maps"], deliver="chat"),
        flags=("--timezone", "Europe/Lisbon"),
    )  # fmt: skip
    assert answer.code == 0, answer.err
    jobs = {name: store.read(f"{name}9a17be42").job for name in ("aaaa", "bbbb", "cccc")}
    first = store.read("5f0c9a17be42").job
    assert (first.task, dict(first.args)) == ("prompt", {"prompt": "Post the low water times.", "model": "sonata-2"})
    assert (first.schedule.text, first.schedule.timezone, first.policy.repeat) == (
        "15 6 * * 1-5", "Europe/Lisbon", 17,
    )  # fmt: skip
    assert (jobs["aaaa"].schedule.describe(), str(jobs["aaaa"].state)) == ("every 90 minutes", "paused")
    assert jobs["bbbb"].next_fire_at.year == 2090
    assert jobs["cccc"].schedule.text == "30 0 6 * * *", "the seconds stand first here"
    lost = {row["id"]: row["lost"] for row in answer.json}
    assert lost["cccc9a17be42"] == ["skills is not taken along", "deliver is not taken along"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"script": "x.py"}, "code of the agent's own (script)"), ({"no_agent": True}, "no_agent"),
        ({"prompt": ""}, "no prompt"), ({"state": "completed"}, "completed"),
        ({"repeat": {"times": 3, "completed": 3}}, "completed"), ({"schedule": None}, "schedule"),
        ({"schedule": {"kind": "cron", "expr": "61 * * * *"}}, "minute"), ({"id": "../x"}, "job id"),
        ({"schedule": {"kind": "once", "run_at": "2020-01-01T00:00:00Z"}}, "past"), ({"id": "known"}, "already"),
    ],
)  # fmt: skip
def test_it_names_what_it_leaves_out_and_why(cli: Cli, tmp_path: Path, more: dict[str, Any], why: str) -> None:
    cli.add("known")
    answer = hermes(cli, tmp_path, record("good"), record("bad", **more) | more)
    assert answer.code == 1
    rows = answer.json
    assert [row["done"] for row in rows] == ["added", "left out"]
    assert why in rows[1]["why"]
    assert {job["id"] for job in cli.good("jobs", "list", "--json").json} == {"good", "known"}


def test_a_dry_run_adds_nothing(cli: Cli, tmp_path: Path) -> None:
    assert hermes(cli, tmp_path, record("good"), flags=("--dry-run",)).json[0]["done"] == "would be added"
    assert cli.good("jobs", "list", "--json").json == []


@pytest.mark.parametrize("text", ["", "[1, 2", '"x"', '{"jobs": 3}', "\x00"])
def test_what_is_no_such_file_is_refused_in_one_sentence(cli: Cli, tmp_path: Path, text: str) -> None:
    file = tmp_path / "jobs.json"
    file.write_text(text)
    answer = cli("jobs", "import", "hermes", str(file))
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert cli("jobs", "import", "hermes", str(tmp_path / "none")).code == 2


CRONTAB = """
# of the harbour
SHELL=/bin/bash
MAILTO=ops@example.com
PATH=/usr/bin:/bin
17 *\t* * *   run-parts --report /etc/tide.d
CRON_TZ=Europe/Lisbon
0 6 * * mon-fri echo "100\\% tide" > /tmp/tide
@daily tide-report
@reboot start-tide
0 7 * * * mail -s tide ops%low water%
not a line
"""


def test_it_brings_the_commands_of_a_crontab(cli: Cli, tmp_path: Path, store: Store) -> None:
    file = tmp_path / "crontab"
    file.write_text(CRONTAB)
    answer = cli("jobs", "import", "crontab", str(file), "--json")
    assert answer.code == 1, "some were left out"
    rows = answer.json
    assert [row["why"] for row in rows if row["done"] == "left out"] == [
        "@reboot is no time", "it has input for its command, behind a %", "it is no line of a crontab",
    ]  # fmt: skip
    jobs = [store.read(row["id"]).job for row in rows if row["id"]]
    assert [(job.schedule.text, job.schedule.timezone) for job in jobs] == [
        ("17 * * * *", "UTC"), ("0 6 * * MON-FRI", "Europe/Lisbon"), ("0 0 * * *", "Europe/Lisbon"),
    ]  # fmt: skip
    assert jobs[0].args == {
        "argv": ["/bin/bash", "-c", "run-parts --report /etc/tide.d"], "env": {"PATH": "/usr/bin:/bin"},
    }  # fmt: skip
    assert jobs[1].args["argv"][2] == 'echo "100% tide" > /tmp/tide'
    assert answer.err.count("note: the task shell is off here") == 1
    again = cli("jobs", "import", "crontab", str(file), "--json")
    assert {row["done"] for row in again.json} == {"left out"}
