"""The ledger of a real process: it trims what is old once its fires are through, however short it lives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from hermes_cron.interfaces import Store
from hermes_cron.ledger import Entry, FireState, scheduled_key
from tests.integration.system import System

pytestmark = pytest.mark.processes
Make = Callable[..., System]

DAY = timedelta(days=1)
FEW = {"HERMES_CRON_STORE__KEEP_FIRES": "3", "HERMES_CRON_STORE__KEEP_DAYS": "1"}


def keep_old(store: Store, job_id: str, count: int) -> list[Entry]:
    """So many fires of long ago in the ledger of a job that is there."""
    at = store.now() - 9 * DAY
    instants = [at + timedelta(minutes=n) for n in range(count)]
    made = tuple(Entry(job_id, scheduled_key(at), at, FireState.SUCCEEDED, settled_at=at) for at in instants)
    store.change(job_id, lambda record, moment: (replace(record, entries=(*record.entries, *made)), None))
    return list(made)


@pytest.mark.timeout(240)
def test_i12_a_worker_trims_what_is_old_and_the_audit_says_where_the_ledger_begins(make_system: Make) -> None:
    system = make_system("memory://", provider="", env=FEW)
    system.add("tide", "every 1s")
    old = keep_old(system.store, "tide", 40)
    system.start_serve()
    system.wait(lambda: system.store.fires("tide", before=old[-1].place) == [], "what is old is gone")
    system.wait(lambda: len(system.store.fires("tide", states=[FireState.SUCCEEDED])) >= 5, "what is young stays")
    assert system.cli("jobs", "pause", "tide").returncode == 0
    done = system.cli("runs", "audit", "--from", (system.store.now() - 30 * DAY).isoformat(), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["findings"] == []
    assert [(row["job_id"], row["at"] > old[-2].fire_at.isoformat()) for row in found["ledger_begins"]] == [
        ("tide", True)
    ]
    told = system.cli("runs", "audit", "--from", (system.store.now() - 30 * DAY).isoformat())
    assert "Of tide the kept ledger begins at" in told.stdout


@pytest.mark.timeout(240)
def test_a_process_that_lives_for_one_fire_takes_its_step(make_system: Make) -> None:
    system = make_system("memory://", provider="", env=FEW)
    system.add("gone", "every 1h")
    keep_old(system.store, "gone", 40)
    system.add("once", "in 2s")
    assert system.cli("jobs", "remove", "gone").returncode == 0
    process = system.start_serve("--exit-when-idle", "1")
    system.wait(lambda: process.poll() is not None, "it exits by itself")
    assert process.returncode == 0, system.logs()
    assert len(system.ran("once")) == 1
    assert system.store.fires("gone") == [], system.logs()


@pytest.mark.timeout(240)
def test_where_all_is_kept_for_ever_a_worker_trims_nothing(make_system: Make) -> None:
    system = make_system("memory://", provider="", env={**FEW, "HERMES_CRON_STORE__KEEP_FIRES": "0"})
    system.add("once", "in 2s")
    keep_old(system.store, "once", 40)
    process = system.start_serve("--exit-when-idle", "1")
    system.wait(lambda: process.poll() is not None, "it exits by itself")
    assert len(system.store.fires("once")) == 41
