"""Reconcile: what is wanted is armed, and NAS's list is compared with the store."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from hermes_cron.clock import instant_text, read_instant
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.providers.chronos.scheduler import ChronosCronScheduler
from hermes_cron.rules import arms, change
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.store import open_store
from tests.unit.providers.conftest import Make, add
from tests.unit.providers.nas import Nas, instants

FAR = "2031-01-01T00:00:00Z"


def paused(store: Store, job_id: str) -> None:
    add(store, job_id)
    store.change(job_id, change.pause)


def wakes(store: Store) -> dict[str, object]:
    return {record.job_id: record.arm.wake_at for record in store.arms() if record.arm.wake_at}


@pytest.mark.parametrize("batch", [True, False])
def test_it_arms_all_and_skips_what_is_paused_or_armed(
    nas: Nas, store: Store, chronos: ChronosCronScheduler, batch: bool
) -> None:
    nas.batch = batch
    for number in range(5):
        add(store, f"j{number}")
    paused(store, "p")
    assert chronos.arm("j0", 30)
    nas.calls.clear()
    done = chronos.reconcile()
    assert set(done.armed) == {"j1", "j2", "j3", "j4"}
    assert done.wanted == ()
    assert {item["job_id"] for item in nas.provisions()} == set(done.armed)
    assert instants(nas) == wakes(store)
    assert len(nas.counted("batch")) == 1


def test_it_remembers_that_nas_takes_no_batches(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    nas.batch = False
    for round_ in "xy":
        for number in range(3):
            add(store, f"{round_}{number}")
        chronos.reconcile()
    assert len(nas.counted("batch")) == 1
    assert instants(nas) == wakes(store)


def test_it_takes_no_orphan_for_ours_to_cancel_in_a_new_store(
    nas: Nas, store: Store, chronos: ChronosCronScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    nas.armed["orphan"] = FAR
    add(store, "a")
    done = chronos.reconcile(full=True)
    assert done.orphans == ("orphan",)
    assert done.armed == ("a",)
    assert "orphan" in nas.armed
    assert "never confirmed" in caplog.text
    assert store.read("orphan") is None


def test_it_cancels_an_orphan_in_a_store_that_knows_nas(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    add(store, "a")
    chronos.reconcile()
    nas.armed["orphan"] = FAR
    done = chronos.reconcile(full=True)
    assert done.orphans == ("orphan",)
    assert set(nas.armed) == {"a"}
    assert store.read("orphan") is None


def test_it_cancels_orphans_when_it_is_told_to(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    nas.armed["orphan"] = FAR
    assert chronos.reconcile(full=True, cancel_orphans=True).disarmed == ("orphan",)
    assert nas.armed == {}


def test_it_cancels_no_orphan_that_became_a_job_meanwhile(
    nas: Nas, store: Store, chronos: ChronosCronScheduler
) -> None:
    add(store, "a")
    chronos.reconcile()

    def meanwhile(call: object) -> None:
        if nas.counted("list") and store.read("new") is None:
            job = add(store, "new")
            nas.armed["new"] = instant_text(job.next_fire_at or store.now())
            order = store.change("new", partial(arms.lease, token="other"))
            store.change("new", partial(arms.confirm, order=order))

    nas.misbehave = meanwhile
    chronos.reconcile(full=True)
    assert instants(nas) == wakes(store)


def test_it_arms_anew_what_nas_lost_or_moved(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    for job_id in "abc":
        add(store, job_id)
    chronos.reconcile()
    del nas.armed["a"]
    nas.armed["b"] = FAR
    nas.calls.clear()
    assert set(chronos.reconcile(full=True).armed) == {"a", "b"}
    assert instants(nas) == wakes(store)
    assert len(nas.provisions()) == 2


def test_it_cancels_what_nas_kept(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    add(store, "a")
    chronos.reconcile()
    store.change("a", change.pause)
    chronos.reconcile()
    nas.armed["a"] = FAR
    assert chronos.reconcile(full=True).disarmed == ("a",)
    assert nas.armed == {}


def test_it_compares_instants_not_texts(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    add(store, "a")
    chronos.reconcile()
    nas.armed["a"] = nas.armed["a"].replace("+00:00", "Z")
    nas.calls.clear()
    chronos.reconcile(full=True)
    assert nas.provisions() == []


def test_it_confirms_what_nas_holds_exactly_without_a_call(
    nas: Nas, store: Store, chronos: ChronosCronScheduler
) -> None:
    held, other = add(store, "held"), add(store, "other")
    assert held.next_fire_at
    assert other.next_fire_at
    nas.armed["held"] = instant_text(held.next_fire_at).replace("+00:00", "Z")
    nas.armed["other"] = instant_text(other.next_fire_at + timedelta(seconds=5))
    assert set(chronos.reconcile(full=True).armed) == {"held", "other"}
    assert [item["job_id"] for item in nas.provisions()] == ["other"]
    assert store.load(0).wanted_arms == 0


def test_it_asks_for_the_list_only_with_the_right_to_call(
    nas: Nas, store: Store, chronos: ChronosCronScheduler
) -> None:
    add(store, "a")
    seen: list[object] = []

    def look(call: object) -> None:
        record = store.read("a")
        if nas.counted("list") and record:
            seen.append(record.arm.owner)

    nas.misbehave = look
    chronos.reconcile(full=True)
    assert seen[0] is not None


def test_it_leaves_alone_an_alarm_that_is_being_delivered(nas: Nas, tmp_path: Path, make: Make) -> None:
    ahead = [timedelta(0)]
    real = open_store(f"sqlite:///{tmp_path}/other.db")
    store = open_store(f"sqlite:///{tmp_path}/other.db", clock=lambda: real.now() + ahead[0])
    chronos = make()
    chronos.attach(store)
    add(store, "a", "every 1m")
    chronos.reconcile()
    ahead[0] = timedelta(seconds=62)
    nas.armed.clear()
    nas.calls.clear()
    chronos.reconcile(full=True)
    assert nas.provisions() == []
    # But one that came long ago, and was seen to by nobody, was lost.
    ahead[0] = timedelta(minutes=10)
    chronos.reconcile(full=True)
    assert len(nas.provisions()) == 1
    store.close()
    real.close()


def test_it_takes_a_list_that_cannot_be_read_for_no_list(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    add(store, "a")
    chronos.reconcile()
    nas.calls.clear()
    nas.misbehave = lambda call: (200, b"{}", {}) if "list" in call.path else None
    assert chronos.reconcile(full=True).wanted == ()
    assert nas.provisions() == []


def test_it_reads_every_page_of_the_list(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    nas.page = 2
    for number in range(5):
        add(store, f"j{number}")
    chronos.reconcile()
    nas.calls.clear()
    done = chronos.reconcile(full=True)
    assert (done.armed, done.orphans) == ((), ())
    assert len(nas.counted("list")) == 3
    assert nas.provisions() == []


def test_it_allows_nas_its_precision(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    nas.capabilities = {"precision_s": 1}
    add(store, "a")
    chronos.reconcile()
    nas.armed["a"] = instant_text(read_instant(nas.armed["a"]).replace(microsecond=0))
    nas.calls.clear()
    chronos.reconcile(full=True)
    assert nas.provisions() == []


def test_it_arms_what_a_fire_spent(nas: Nas, store: Store, chronos: ChronosCronScheduler) -> None:
    wake = add(store, "a").next_fire_at
    chronos.reconcile()
    store.change("a", partial(claim, fire=Fire("a", wake), claimer=Claimer("w", timedelta(seconds=30))))
    chronos.reconcile()
    assert not store.load(0).wanted_arms


def test_it_purges_a_removed_job_once_its_disarm_is_confirmed(
    nas: Nas, store: Store, chronos: ChronosCronScheduler
) -> None:
    add(store, "a")
    chronos.reconcile()
    store.change("a", change.remove)
    assert store.read("a") is not None
    assert chronos.reconcile().disarmed == ("a",)
    assert store.read("a") is None
    assert nas.armed == {}
