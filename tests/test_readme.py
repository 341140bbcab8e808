"""The README's examples, executed as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hermes_cron.config import load
from hermes_cron.schedule import Schedule

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """The code below the comment `<!-- test: name -->`."""
    found = re.search(rf"<!-- test: {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, f"the README has no example {name}"
    return found[1]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run our command in a folder with the README's module, and a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HERMES_CRON_")}
    return subprocess.run(
        [sys.executable, "-m", "hermes_cron", *command[1:]], cwd=folder, capture_output=True, text=True, timeout=60,
        env={**kept, "HERMES_CRON_HOME": str(folder / "home")}, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the ten lines of Python."""
    (tmp_path / "reports.py").write_text(block("module reports.py"), encoding="utf-8")
    return tmp_path


def test_the_commands_beside_the_ten_lines_do_what_they_say(folder: Path) -> None:
    commands = [line.removeprefix("$ ") for line in block("shell").splitlines() if line.startswith("$ ")]
    assert len(commands) >= 3
    for line in commands:
        done = run(shlex.split(line), folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert done.stdout.strip(), line
    assert "tide" in run(["hermes-cron", "jobs", "list"], folder).stdout


def test_the_ten_lines_are_about_ten() -> None:
    assert len([line for line in block("module reports.py").splitlines() if line.strip()]) <= 10


def test_the_tests_of_the_ten_lines_pass(folder: Path) -> None:
    (folder / "test_reports.py").write_text(block("module test_reports.py"), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_example_configuration_is_one(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(block("config"), encoding="utf-8")
    config = load(file, environ={"HERMES_CRON_HOME": str(tmp_path)})
    assert config.settings.cron.provider == "chronos"
    assert config.settings.app == "reports:app"


def test_every_schedule_in_the_table_can_be_read() -> None:
    table = README.partition("<!-- test: schedules -->")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[3:] if line.startswith("|")]
    texts = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    assert len(texts) >= 12
    for text in texts:
        Schedule.parse(text, now=datetime(2026, 1, 1, tzinfo=UTC))


def test_every_link_leads_to_a_file_that_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_command_named_here_is_one() -> None:
    from hermes_cron.cli import COMMANDS

    # Without the options of the group in between.
    named = set(re.findall(r"hermes-cron(?: -A \S+)? ([a-z]+)", README))
    assert named - {"jobs", "is"} <= set(COMMANDS), named
