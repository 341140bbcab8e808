"""What the tests of the simulation share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hermes_cron.interfaces import Store
from hermes_cron.ledger import Entry, FireState
from hermes_cron.record import Record
from hermes_cron.run import Run
from tests.unit.parts import NOON


def put(store: Store, record: Record) -> None:
    store.change(record.job_id, lambda kept, moment: (record, None))


def run_of(job_id: str, **changes: Any) -> Run:
    return replace(Run(f"{job_id}:1", job_id, "k", NOON, 1, 1, "t", {}, claimed_at=NOON), **changes)


def entry_of(job_id: str, **changes: Any) -> Entry:
    return replace(Entry(job_id, "k", NOON, FireState.WAITING), **changes)
