"""How the circle comes to rest once its faults end, and what must be true then."""

from __future__ import annotations

from datetime import datetime, timedelta

from hermes_cron.clock import EPOCH
from hermes_cron.contract import SENTINEL_PREFIX
from hermes_cron.job import JobState
from hermes_cron.rules.audit import audit
from hermes_cron.run import RunState
from hermes_cron.virtual.scripts import Body, Call
from tests.unit.simulation.circle import PEOPLE, Circle

SWEEP = timedelta(seconds=15)
WEEK = timedelta(days=7)


def come_to_rest(circle: Circle) -> None:
    """NAS is back and the workers live; time passes; then all must be as if nothing had happened."""
    _heal(circle)
    circle.alive = [True, True]
    for _ in range(3):
        work(circle)
        circle.to(circle.clock.now + 2 * SWEEP + timedelta(seconds=1))
    for _ in range(8):
        work(circle)
        circle.to(min(circle.store.next_wake() or circle.clock.now, circle.clock.now + WEEK))
    work(circle)
    check(circle)


def fall_asleep(circle: Circle) -> None:
    """Every process is killed on the spot, and only NAS wakes one, as long as it holds any alarm at all (I16)."""
    _heal(circle)
    for owner in (0, 1, PEOPLE):
        circle.crash(owner)
    circle.strays.clear()
    circle.queue.clear()
    if circle.nas.next_due() is None:
        return
    for _ in range(8):
        due = circle.nas.next_due()
        if due is None:
            break
        circle.to(due)
        work(circle)
        if circle.idle():
            circle.alive = [False, False]
    if not any(circle.alive):
        circle.start(0)
    work(circle)
    check(circle)


def _heal(circle: Circle) -> None:
    circle.nas_up = circle.way_up = True
    if circle.store.stopped():
        strand = circle.spawn(PEOPLE, circle.scripts[PEOPLE].start())
        while circle.store.stopped():
            circle.go_on(strand)


def work(circle: Circle) -> None:
    """Everything that there is to do now is done, and well; a held arm is free again after its lease."""
    for again in range(4):
        for _ in range(6):
            for alarm in circle.nas.to_deliver(circle.clock.now):
                circle.deliver(alarm)
            _run_all(circle)
            if not any(circle.alive):
                return
            _take_all(circle)
            for owner in (0, 1):
                if circle.alive[owner]:
                    circle.sweep(owner)
                    circle.spawn(owner, circle.scripts[owner].tend())
                    _run_all(circle)
            if not circle.queue and not circle.store.overdue(1) and not circle.store.wanted(1):
                return
        circle.to(circle.clock.now + timedelta(seconds=11 if again < 3 else 0))


def _take_all(circle: Circle) -> None:
    for message in list(circle.queue):
        owner = 0 if circle.alive[0] else 1
        if circle.consume(owner, message) is not None:
            _run_all(circle)


def _run_all(circle: Circle) -> None:
    for _ in range(400):
        if not circle.strands:
            return
        for strand in list(circle.strands):
            if isinstance(strand.waits, Call) and strand.answer is None:
                circle.answer_call(strand, "good")
            if isinstance(strand.waits, Body) and strand.answer is None:
                circle.answer_body(strand, RunState.SUCCEEDED)
            circle.go_on(strand)
    raise AssertionError("a script does not end")


def check(circle: Circle) -> None:
    """I11, I12, I14, I16: one outcome for every due fire, and NAS holds the wanted arms, the ladder, nothing else."""
    store, now = circle.store, circle.clock.now
    _check_ledger(circle, now)
    assert store.wanted(99) == [], "I11: an arm is still wanted"
    held = {job_id: alarm.at for job_id, alarm in circle.nas.held.items()}
    confirmed = {r.job_id: r.arm.armed_at for r in store.arms() if r.arm.armed_at is not None}
    ahead = {job_id: at for job_id, at in confirmed.items() if at > now}
    assert held == ahead, f"I11: NAS holds {held}, confirmed is {ahead}"
    wakes = {r.job_id: r.arm.wake_at for r in store.arms() if r.arm.wake_at and not _sentinel(r.job_id)}
    assert {job_id for job_id in held if not _sentinel(job_id)} == set(wakes), "I11: a wake has no alarm"
    _check_ladder(circle, held, min(wakes.values(), default=None))


def _check_ledger(circle: Circle, now: datetime) -> None:
    store = circle.store
    for record in store.arms():
        assert not record.open_runs, "a run was never closed"
        assert not [e for e in record.entries if e.not_before is None], "I12: a fire has no outcome"
        job = record.job
        if job is not None and job.state is JobState.COMPLETED:
            assert job.used_up or job.fire_after(now) is None, "I14: a job with fires to come was completed"
            assert record.arm.wake_at is None, "I14: something of a completed job stays armed"
    undecided = {record.job_id: record.job.next_fire_at for record in store.jobs() if record.job}
    found = audit(store.chapters(), store.fires(limit=10**6), undecided, EPOCH, now)
    assert found.clean, f"I12: {found.findings}"
    assert found.open == 0, "I12, I16: a due fire has no outcome"


def _check_ladder(circle: Circle, held: dict[str, datetime], wake: datetime | None) -> None:
    rungs = {job_id: at for job_id, at in held.items() if _sentinel(job_id)}
    if wake is None:
        assert rungs == {}, "the ladder stands though no job has a wake"
        return
    assert len(rungs) == len(circle.rungs), "I16: the ladder does not stand"
    for number, rung in enumerate(circle.rungs, 1):
        off = abs((rungs[f"{SENTINEL_PREFIX}{number}"] - wake).total_seconds() - rung)
        assert off <= rung / 10 + 60, f"I16: rung {number} is {off:.0f} s off"


def _sentinel(job_id: str) -> bool:
    return job_id.startswith(SENTINEL_PREFIX)
