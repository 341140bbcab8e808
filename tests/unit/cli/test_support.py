"""`hermes-cron schedule`, `config`, `providers`, `doctor`, and `--help`: what helps people before anything runs."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_cron.cli import COMMANDS
from hermes_cron.config import load
from tests.unit.cli.conftest import Cli


def checks(cli: Cli, *words: str) -> dict[str, str]:
    """The worst state by check."""
    worst: dict[str, str] = {}
    for finding in cli(*words, "doctor", "--json").json["findings"]:
        order = ["ok", "warn", "fail"]
        worst[finding["check"]] = max(worst.get(finding["check"], "ok"), finding["state"], key=order.index)
    return worst


def test_it_explains_a_schedule_with_its_clock_changes(cli: Cli) -> None:
    answer = cli.good("schedule", "explain", "30 2 * * *", "--timezone", "Europe/Brussels", "--count", "2")
    lines = answer.out.splitlines()
    assert lines[0] == "At 02:30 every day (Europe/Brussels)"
    assert all("02:30:00 Europe/Brussels (in " in line for line in lines[1:3])
    assert [line.split(":")[0] for line in lines[3:]] == ["warning", "warning"]
    assert not cli.home.exists()


def test_it_explains_words_that_are_not_quoted(cli: Cli) -> None:
    found = cli.good("schedule", "explain", "every", "15m", "--json").json
    assert (found["words"], found["kind"], len(found["upcoming"])) == ("every 15 minutes", "every", 5)


def test_it_shows_each_value_with_its_source_and_no_secret(cli: Cli, here: Path) -> None:
    (here / "c.yaml").write_text("cron:\n  timezone: Asia/Tokyo\n  chronos:\n    access_token: hunter2\n")
    answer = cli.good("--config", "c.yaml", "--set", "broker.url=redis://me:hunter2@h/1", "config", "show", "--sources")
    assert "hunter2" not in answer.out
    rows = {line.split()[0]: line for line in answer.out.splitlines()}
    assert f"file {here}/c.yaml" in rows["cron.timezone"]
    assert "HERMES_CRON_CRON__TIMEZONE" in rows["cron.timezone"]
    assert "flag broker.url" in rows["broker.url"]
    found = {row["key"]: row for row in cli("--config", "c.yaml", "config", "show", "--json").json}
    assert found["cron.timezone"]["value"] == "Asia/Tokyo"
    assert found["cron.chronos.access_token"]["value"] == "***"


def test_it_lists_all_that_is_wrong_with_a_configuration(cli: Cli) -> None:
    assert "The configuration is right" in cli.good("config", "check").out
    answer = cli("--set", "cron.provider=chronos", "config", "check")
    assert answer.code == 78
    assert len(answer.out.splitlines()) == 5
    assert answer.err == "Error: 5 things are wrong with the configuration. They are listed above. [config_invalid]\n"
    answer = cli("--set", "cron.provider=chronos", "config", "check", "--json")
    assert (answer.code, answer.json["ok"], len(answer.json["problems"])) == (78, False, 5)


@pytest.mark.parametrize(
    ("pair", "words"),
    [("cron.provider=chronoss", "Choose one of: builtin"), ("broker.url=smoke://signal", "no queue we support"),
     ("store.url=mongodb://x/y", "no store we know")],
)  # fmt: skip
def test_it_finds_what_is_named_and_not_there_without_a_connection(cli: Cli, pair: str, words: str) -> None:
    answer = cli("--set", pair, "config", "check")
    assert (answer.code, answer.out) == (78, "")
    assert words in answer.err
    assert not cli.home.exists()
    assert cli.good("--set", "store.url=redis://127.0.0.1:1/0", "config", "check").err == ""


def test_it_prints_an_example_that_changes_nothing(cli: Cli, here: Path) -> None:
    (here / "example.yaml").write_text(cli.good("config", "example").out)
    assert load(here / "example.yaml", environ={}).settings == load(environ={}).settings


def test_it_lists_providers_and_marks_the_chosen_one_without_running_it(cli: Cli) -> None:
    plugin = cli.home / "plugins" / "moon"
    plugin.mkdir(parents=True)
    (plugin / "plugin.yaml").write_text("name: moon\ndescription: Wakes us at full moon.\nversion: '2'\n")
    (plugin / "__init__.py").write_text("raise SystemExit('ran')")
    rows = {row["name"]: row for row in cli.good("--set", "cron.provider=moon", "providers", "list", "--json").json}
    assert rows["moon"]["description"] == "Wakes us at full moon."
    assert [name for name, row in rows.items() if row["chosen"]] == ["moon"]
    assert "builtin (chosen)" in cli.good("providers", "list").out


def test_it_finds_nothing_wrong_with_the_defaults(cli: Cli) -> None:
    answer = cli.good("doctor")
    assert answer.out.endswith("0 failed, 0 to look at, 10 ok.\n")
    assert all(line.startswith("ok  ") for line in answer.out.splitlines()[:-1])
    assert set(checks(cli).values()) == {"ok"}


@pytest.mark.parametrize(
    ("words", "check", "state"),
    [
        (["--set", "colour=red"], "configuration", "fail"),
        (["--set", "cron.provider=chronos"], "configuration", "fail"),
        (["--set", "cron.provider=chronos"], "provider", "warn"),
        (["--set", "cron.provider=chronos", "--set", "cron.fallback=fail"], "provider", "fail"),
        (["--set", "cron.provider=nobody"], "provider", "warn"),
        (["--set", "cron.verifier=cron-key"], "verifier", "fail"),
        (["--set", "broker.url=redis://127.0.0.1:1/0"], "queue", "fail"),
        (["--set", "store.url=postgresql://127.0.0.1:1/x"], "store", "fail"),
        (["-A", "nope"], "app", "fail"),
        (["-A", "harbour"], "app", "ok"),
    ],
)
def test_it_finds_what_is_wrong(cli: Cli, words: list[str], check: str, state: str) -> None:
    assert checks(cli, *words)[check] == state
    answer = cli(*words, "doctor")
    assert answer.code == (1 if any(line.startswith("fail ") for line in answer.out.splitlines()) else 0)
    assert answer.err == ""


def test_it_finds_work_that_nobody_does(cli: Cli) -> None:
    cli.add()
    with sqlite3.connect(cli.home / "hermes-cron.db") as store:
        store.execute("UPDATE arms SET wake_at = wake_at - 3600000000")
    answer = cli("doctor")
    assert answer.code == 1
    assert "due for over a minute, and nothing runs them: ping. Start a worker" in answer.out
    assert "note: due for over a minute: ping; nothing runs them" in cli("jobs", "list").err


def test_it_finds_jobs_whose_tasks_are_not_known_here(cli: Cli) -> None:
    words = ("jobs", "add", "tide", "--schedule", "every 1h", "--task", "tide", "--args", '{"place": "Porto"}')
    cli.good("-A", "harbour", *words)
    assert checks(cli)["jobs"] == "warn"
    assert checks(cli, "-A", "harbour")["jobs"] == "ok"


def test_it_finds_jobs_whose_task_is_off(cli: Cli) -> None:
    words = ("jobs", "add", "tidy", "--schedule", "every 1h", "--task", "shell", "--args", '{"argv": ["true"]}')
    assert "tasks.shell.enabled" in cli.good(*words).err
    assert "the task shell is off here, so these fail: tidy. Set tasks.shell.enabled" in cli.good("doctor").out
    enabled = ("--set", "tasks.shell.enabled=true")
    assert cli.good(*enabled, "jobs", "edit", "tidy", "--repeat", "5").err == ""
    assert checks(cli, *enabled)["jobs"] == "ok"


def test_it_finds_a_home_that_others_may_write(cli: Cli) -> None:
    cli.home.mkdir()
    cli.home.chmod(0o777)
    assert checks(cli)["home"] == "warn"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("demo", "dev")])
def test_it_helps_with_each_command(cli: Cli, name: str) -> None:
    assert cli.good(name, "--help").out.startswith("Usage: hermes-cron ")


@pytest.mark.parametrize(
    "words",
    [
        ["jobs", "list"], ["runs", "list"], ["arms", "list"], ["arms", "diff"], ["arms", "reconcile"],
        ["config", "show"], ["config", "check"], ["providers", "list"], ["doctor"], ["schedule", "explain", "@daily"],
    ],
)  # fmt: skip
def test_it_answers_in_json_on_whatever_reads(cli: Cli, words: list[str]) -> None:
    assert cli.good(*words, "--json").json is not None


@pytest.mark.processes
@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (["--help"], {"sqlalchemy", "httpx", "kombu", "jwt", "falcon", "yaml"}),
        (["schedule", "explain", "@daily"], {"sqlalchemy", "httpx", "kombu", "jwt", "falcon", "yaml"}),
        (["jobs", "list"], {"httpx", "kombu", "jwt", "falcon", "gunicorn", "cryptography", "yaml"}),
    ],
    ids=["help", "explain", "list"],
)
def test_it_imports_no_library_that_the_command_does_not_need(cli: Cli, words: list[str], unneeded: set[str]) -> None:
    script = f"""
import sys
from hermes_cron.cli import main
sys.argv = ["hermes-cron", *{words!r}]
try:
    main()
except SystemExit as end:
    assert not end.code
print("", *sorted({unneeded!r} & set(sys.modules)), sep="\\n")
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.rpartition("\n\n")[2].split() == []


@pytest.mark.processes
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_it_says_so_when_its_answer_cannot_be_written(cli: Cli) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "hermes_cron", "config", "example"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=env, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The answer cannot be written")
