"""A lease that is lost ends the body's process, and never the worker's."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from hermes_cron.errors import StoreError
from hermes_cron.fire import Fire
from hermes_cron.firing import Firing
from hermes_cron.interfaces import Store
from hermes_cron.leases import Leases
from hermes_cron.ledger import FireState
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.run import RunState
from tests.unit.parts import LEASE, NOON, Between, FakeClock, ListBroker, Scheduler, Seconds, add, until
from tests.unit.pool.conftest import Make, gone, noted

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes: it looks into /proc"),
]


@pytest.mark.parametrize("how", ["unreachable", "taken over"])
def test_i6_a_deaf_body_that_lost_its_lease_is_killed_and_the_worker_goes_on(
    make: Make, store: Store, clock: FakeClock, tmp_path: Path, how: str
) -> None:
    away = threading.Event()

    def before(step: str) -> None:
        if step == "renew" and away.is_set() and how == "unreachable":
            raise StoreError("away")

    warm, boot, note = make(), Seconds(), tmp_path / "note"
    between: Store = Between(store, before)  # type: ignore[assignment]  # a stand-in.
    leases = Leases(between, LEASE, boot=boot, give_up=warm.pool.kill_lost)
    firing = Firing(
        between, ListBroker(), Scheduler(), Claimer("w", LEASE), leases.keep, warm.pool.execute, lambda: None
    )  # fmt: skip
    add(store, task="deaf", args={"note": str(note), "children": 1})
    clock.now = NOON + timedelta(minutes=15)
    body = threading.Thread(target=firing.fire_due, args=(Fire("a", clock.now), lambda: None))
    body.start()
    pids = noted(note)
    leases.start()
    away.set()
    if how == "taken over":
        clock.advance(LEASE.total_seconds() + 1)
        taken = store.change("a", lambda r, m: claim(r, m, fire=Fire("a"), claimer=Claimer("other", LEASE))).run
        assert taken is not None
    boot.advance(LEASE.total_seconds() - 5)
    assert until(lambda: not body.is_alive())
    leases.stop()
    assert gone(pids)
    fire = store.fires("a")[0]
    if how == "unreachable":
        assert (fire.state, fire.reason, fire.deaths) == (FireState.WAITING, "handed back", 0)
    else:
        assert (fire.state, fire.deaths) == (FireState.RUNNING, 1)
        assert [run.state for run in store.runs("a")] == [RunState.CLAIMED, RunState.ABANDONED]
    started = time.monotonic()
    assert warm.run("answer", size=1).state is RunState.SUCCEEDED
    assert time.monotonic() - started < 50
