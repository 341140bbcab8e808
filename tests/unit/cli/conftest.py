"""The command line as people meet it: its real `main`, a home and a current folder of its own, no terminal."""

from __future__ import annotations

import io
import json
import logging
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hermes_cron.cli import main
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.rules import progress
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.run import Run, RunState
from hermes_cron.store import open_store

LEASE = timedelta(seconds=30)

APP = """
from hermes_cron.app import HermesCron

app = HermesCron("harbour")


@app.task(name="tide")
def tide(place, *, units="m"): ...
"""


@dataclass
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Cli:
    """`cli("jobs", "list")` runs `hermes-cron jobs list`."""

    home: Path
    run: Callable[..., Answer]
    before: list[str] = field(default_factory=list)

    def __call__(self, *args: str) -> Answer:
        return self.run(*self.before, *args)

    def good(self, *args: str) -> Answer:
        answer = self(*args)
        assert answer.code == 0, answer.err
        return answer

    def add(self, job_id: str = "ping", schedule: str = "every 5m", *more: str) -> Answer:
        url = '{"url": "https://example.com/"}'
        return self.good("jobs", "add", job_id, "--schedule", schedule, "--task", "http", "--args", url, *more)

    def kept(self) -> dict[str, list[Any]]:
        """Every row of the store."""
        file = self.home / "hermes-cron.db"
        if not file.exists():
            return {}
        with sqlite3.connect(file, timeout=60) as store:
            names = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: store.execute(f"SELECT * FROM {name}").fetchall() for name in names}


def work(store: Store, job_id: str, state: RunState = RunState.SUCCEEDED, error: str = "", result: str = "") -> Run:
    """Be the worker for one run of this job, as soon as there is one to claim."""
    claimer = Claimer("worker:1", LEASE)
    claim_it = partial(claim, fire=Fire(job_id), claimer=claimer)
    for _ in range(6000):
        run = store.change(job_id, claim_it).run
        if run is not None:
            break
        threading.Event().wait(0.01)
    assert run is not None
    begun = store.change(job_id, partial(progress.begin, run=run, lease=LEASE))
    assert isinstance(begun, Run)
    ended = replace(begun, state=state, error=error, result=result)
    store.change(job_id, partial(progress.complete, run=ended))
    return ended


@pytest.fixture
def store(cli: Cli) -> Iterator[Store]:
    """The store of the command line."""
    opened = open_store(f"sqlite:///{cli.home}/hermes-cron.db")
    yield opened
    opened.close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an app in it."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "harbour.py").write_text(APP)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def cli(
    tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    for name in [name for name in os.environ if name.startswith("HERMES_CRON_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("HERMES_CRON_HOME", str(home))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    root = logging.getLogger()
    handlers, level, path = list(root.handlers), root.level, list(sys.path)
    quieted = {name: logging.getLogger(name).level for name in ("hermes_cron", "hermes_cron.store")}

    def run(*args: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["hermes-cron", *args])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Answer(int(ended.value.code or 0), out, err)

    yield Cli(home, run)
    root.handlers[:], sys.path[:] = handlers, path
    root.setLevel(level)
    for name, before in quieted.items():
        logging.getLogger(name).setLevel(before)
    sys.modules.pop("harbour", None)
