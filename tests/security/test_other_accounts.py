"""Another account of the machine, and a task of ours that is curious: what the processes as shipped let them have."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.system import System

pytestmark = [pytest.mark.processes, pytest.mark.redis, pytest.mark.timeout(240)]
Make = Callable[..., System]
LOOK = """
import json, os, sys
fds = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        fds[fd] = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        pass  # The listing's own.
json.dump({"env": dict(os.environ), "fds": fds}, open(sys.argv[1], "w"))
"""
SECRETS = {
    "DATABASE_PASSWORD": "planted-one", "AWS_SECRET_ACCESS_KEY": "planted-two",
    "HERMES_CRON_CRON__CHRONOS__ACCESS_TOKEN": "planted-three", "HERMES_CRON_CRON__CHRONOS__ACCESS_TOKEN_FILE": "",
}  # fmt: skip


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_a_task_of_a_worker_sees_no_secret_and_no_descriptor_of_ours(
    make_system: Make, redis_url: str, tmp_path: Path, pool: str
) -> None:
    key, seen = tmp_path / "signing-key", tmp_path / "seen.json"
    key.touch(0o600)
    key.write_text("planted-four" * 4)
    env = {"HERMES_CRON_TASKS__SHELL__ENABLED": "true", "HERMES_CRON_BROKER__SIGNING_KEY_FILE": str(key), **SECRETS}
    system = make_system(redis_url, provider="", env=env)
    argv = [sys.executable, "-I", "-S", "-c", LOOK, str(seen)]
    system.start_worker(0, "--pool", pool)
    system.add("look", "in 1s", "shell", "--args", json.dumps({"argv": argv}))
    [run] = system.wait(lambda: [run for run in system.store.runs("look") if not run.open], "the run's end")
    assert run.error == ""
    found = json.loads(seen.read_text())
    assert "planted" not in json.dumps(found)
    assert system.broker_url not in json.dumps(found)
    assert not [
        name for name in found["env"] if name.startswith("HERMES_CRON_") and "RUN" not in name and "JOB" not in name
    ]
    strange = {
        fd: place for fd, place in found["fds"].items() if int(fd) > 2 and not place.startswith(("/proc/", "/dev/"))
    }
    assert strange == {}


PLUGIN = """
import pathlib
pathlib.Path(__file__).parent.parent.parent.joinpath("canary").touch()

def register(ctx):
    raise RuntimeError("it was run")
"""
HARM = {
    "": ("", 0), "home": (".", 0o020), "plugins": ("plugins", 0o002), "folder": ("plugins/toy", 0o020),
    "file": ("plugins/toy/__init__.py", 0o002), "inner": ("plugins/toy/inner.py", 0o020),
    "link": ("plugins/toy/inner.py", -1), "owner": ("plugins/toy/inner.py", -2),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM)
def test_no_process_runs_a_plugin_that_others_could_have_written(
    make_system: Make, redis_url: str, tmp_path: Path, harm: str
) -> None:
    home = tmp_path / "own"
    folder = home / "plugins" / "toy"
    folder.mkdir(parents=True)
    for file, text in {"__init__.py": PLUGIN, "inner.py": "", "plugin.yaml": "name: toy\ndescription: x\n"}.items():
        (folder / file).write_text(text)
    for path in (home, *home.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    name, mode = HARM[harm]
    if mode == -1:
        (home / name).unlink()
        (home / name).symlink_to("/etc/hostname")
    elif mode == -2:
        if os.geteuid() != 0:
            pytest.skip("root: only root can give files away")
        os.chown(home / name, 12345, -1)
    elif name:
        (home / name).chmod((home / name).stat().st_mode | mode)
    system = make_system(redis_url, provider="toy", env={"HERMES_CRON_HOME": str(home)})
    system.start_worker()
    said = "it was run" if not harm else str((home / name).resolve() if mode == 0o020 and name == "." else home / name)
    system.wait(lambda: said in system.log("worker0"), "what the worker says of the plugin")
    assert (home / "canary").exists() == (not harm)
    listed = system.cli("providers", "list", "--json")
    assert listed.returncode == 0
    assert (home / "canary").exists() == (not harm)
    assert "Traceback" not in listed.stderr
