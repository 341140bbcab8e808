"""`demo` and `dev` as a new user runs them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]
KEPT = {name: value for name, value in os.environ.items() if not name.startswith("HERMES_CRON_")}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "hermes_cron", *words]


def test_two_demos_at_once_see_everything_happen_and_leave_nothing_behind(tmp_path: Path) -> None:
    env = {**KEPT, "TMPDIR": str(tmp_path), "HOME": str(tmp_path / "home")}
    demos = [
        subprocess.Popen(command("demo"), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    for demo in demos:
        out, _ = demo.communicate(timeout=120)
        assert demo.returncode == 0, out
        for seen in (
            "NAS woke the agent",
            "401, as it must be",
            "202, and still 1 run",
            "gone to sleep",
            "lateness max",
        ):
            assert seen in out, out
    assert list(tmp_path.iterdir()) == [], "it left something behind"
    left = subprocess.run(["pgrep", "-f", f"{tmp_path}/hermes-cron-"], capture_output=True, text=True, check=False)
    assert left.stdout == ""


def test_dev_prints_what_another_terminal_needs_and_ends_with_ctrl_c() -> None:
    with tempfile.TemporaryDirectory() as folder:
        env = {**KEPT, "TMPDIR": folder, "HOME": folder}
        with (Path(folder) / "out").open("w+") as out:
            dev = subprocess.Popen(command("dev"), env=env, stdout=out, stderr=out)
            try:
                said = ""
                end = time.monotonic() + 120
                while "Ctrl-C ends it" not in said:
                    assert time.monotonic() < end, said
                    time.sleep(0.1)
                    said = (Path(folder) / "out").read_text()
                there = {**env, "HERMES_CRON_CONFIG": re.findall(r"HERMES_CRON_CONFIG=(\S+)", said)[0]}

                def terminal(*words: str) -> str:
                    done = subprocess.run(
                        command(*words), env=there, capture_output=True, text=True, timeout=60, check=False
                    )
                    assert done.returncode == 0, done.stderr
                    return done.stdout

                terminal("jobs", "add", "tide", "--schedule", "every 2s", "--task", "demo.tide")
                while "succeeded" not in terminal("runs", "list"):
                    assert time.monotonic() < end
            finally:
                dev.send_signal(signal.SIGINT)
                assert dev.wait(30) == 0
        assert [path.name for path in Path(folder).iterdir()] == ["out"]
