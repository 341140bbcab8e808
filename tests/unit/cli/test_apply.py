"""`jobs apply` and `jobs export`: a file is what the jobs are."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from hermes_cron.interfaces import Store
from tests.unit.cli.conftest import Cli

FILE = """
jobs:
  ping:
    schedule: every 5m
    task: http
    args: {url: "https://example.com/up"}
    overlap: queue
    misfire: run_all(7)
    timeout: 90s
  tide:
    schedule: "0 6 * * 1-5"
    timezone: Europe/Lisbon
    task: http
    args: {url: "https://example.com/tide", headers: {X-A: "1"}}
    starts_at: 2027-01-01T00:00:00Z
    repeat: 3
  late:
    schedule: every 10m
    anchor: completion
    task: http
    args: {url: "https://example.com/late"}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "jobs.yaml"
    found.write_text(FILE)
    return found


def done(answer: object) -> dict[str, str]:
    return {row["id"]: row["done"] for row in answer.json}  # type: ignore[attr-defined]  # it has it here.


def test_it_adds_what_is_new_changes_what_differs_and_leaves_the_rest_alone(cli: Cli, file: Path, store: Store) -> None:
    assert set(done(cli.good("jobs", "apply", "-f", str(file), "--json")).values()) == {"added"}
    ping = store.read("ping").job
    assert (ping.policy.overlap, ping.policy.misfire, ping.policy.misfire_max, ping.policy.timeout) == (
        "queue", "run_all", 7, 90.0,
    )  # fmt: skip
    assert store.read("late").job.schedule.anchor == "completion"
    assert set(done(cli.good("jobs", "apply", "-f", str(file), "--json")).values()) == {"as it was"}
    assert store.read("ping").job == ping, "nothing is moved by being said again"

    cli.good("jobs", "pause", "tide")
    file.write_text(FILE.replace("every 5m", "every 6m").replace("repeat: 3", "repeat: 4"))
    changed = done(cli.good("jobs", "apply", "-f", str(file), "--json"))
    assert changed == {"ping": "changed", "tide": "changed", "late": "as it was"}
    assert str(store.read("tide").job.state) == "paused"


def test_it_prunes_what_neither_the_file_nor_the_app_has_and_only_if_asked(cli: Cli, file: Path, here: Path) -> None:
    (here / "harbour.py").write_text((here / "harbour.py").read_text() + "\n@app.cron('@daily')\ndef dawn(): ...\n")
    cli.add("old")
    cli.good("jobs", "add", "harbour.dawn", "--schedule", "@daily", "--task", "harbour.dawn", "-A", "harbour:app")
    cli.good("jobs", "apply", "-f", str(file))
    assert {job["id"] for job in cli.good("jobs", "list", "--json").json} >= {"old", "harbour.dawn"}
    foreseen = cli.good("jobs", "apply", "-f", str(file), "--prune", "--dry-run", "-A", "harbour:app", "--json")
    assert done(foreseen)["old"] == "removed"
    assert "harbour.dawn" not in done(foreseen)
    assert "old" in {job["id"] for job in cli.good("jobs", "list", "--json").json}
    cli.good("jobs", "apply", "-f", str(file), "--prune", "-A", "harbour:app")
    assert {job["id"] for job in cli.good("jobs", "list", "--json").json} == {"harbour.dawn", "ping", "tide", "late"}


def test_it_changes_nothing_where_anything_is_wrong_and_names_all_of_it(cli: Cli, file: Path) -> None:
    wrong = FILE.replace("every 5m", "every 0m").replace("overlap: queue", "overlap: sometimes")
    file.write_text(wrong.replace('task: http\n    args: {url: "https://example.com/late"}', "task: htpp"))
    answer = cli("jobs", "apply", "-f", str(file))
    assert answer.code == 2
    assert "ping:" in answer.err
    assert "late: There is no task 'htpp'. Did you mean 'http'?" in answer.err
    assert "Nothing was changed" in answer.err
    assert cli.good("jobs", "list", "--json").json == []


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no jobs"), ("jobs: [1]", "no jobs"), ("jobs:\n  a:\n    task: http\n", "line 2"),
     ("jobs:\n  a:\n    schedule: '@daily'\n    overlp: skip\n", "line 4"), ("a: [", "not YAML")],
)  # fmt: skip
def test_it_says_where_in_the_file_it_cannot_be_read(cli: Cli, file: Path, text: str, words: str) -> None:
    file.write_text(text)
    answer = cli("jobs", "apply", "-f", str(file))
    assert answer.code in (2, 78)
    assert words in answer.err
    assert "Traceback" not in answer.err


def test_it_takes_the_standard_input_for_a_file(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(FILE.encode())))
    assert [row["done"] for row in cli.good("jobs", "apply", "-f", "-", "--json").json] == ["added"] * 3
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"jobs: [")))
    assert "Error: standard input, line 2, column 1: not YAML" in cli("jobs", "apply", "-f", "-").err


def test_what_it_exports_is_what_it_was_given(cli: Cli, file: Path, tmp_path: Path, store: Store) -> None:
    cli.good("jobs", "apply", "-f", str(file))
    cli.good(
        "jobs", "add", "once", "--schedule", "in 3h", "--task", "http", "--args", '{"url": "https://example.com/"}'
    )
    cli.good("jobs", "pause", "tide")
    exported = cli.good("jobs", "export")
    assert "tide" in exported.err
    again = tmp_path / "again.yaml"
    again.write_text(exported.out)
    before = {name: store.read(name).job.next_fire_at for name in ("ping", "tide", "late", "once")}
    foreseen = done(cli.good("jobs", "apply", "-f", str(again), "--dry-run", "--json"))
    assert set(foreseen.values()) == {"as it was"}
    cli.good("jobs", "apply", "-f", str(again), "--json")
    assert {name: store.read(name).job.next_fire_at for name in before} == before
    assert cli.good("jobs", "export").out == exported.out
