"""What every store promises of what runs said: kept once, of the newest runs, and apart from their outcomes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.job import Job
from hermes_cron.output import KEPT_PER_JOB, MAX_BYTES, Line, Output, Recorder
from hermes_cron.rules import change, progress
from hermes_cron.rules.claim import Claim, Claimer, claim
from hermes_cron.run import Run, RunState
from hermes_cron.schedule import Schedule
from tests.conformance.conftest import Place
from tests.unit.parts import NOON, FakeClock

LEASE = timedelta(seconds=30)
SAID = Output(
    (Line(NOON, "stdout", "at \x1b[2J\0 last, é\u202e"), Line(NOON, "app", "two\nlines", "warning")),
    (Line(NOON + timedelta(microseconds=1), "stderr", ""),), 17,
)  # fmt: skip


def begun(store: Store, job_id: str = "a") -> Run:
    """A run of this job that is at work."""
    if store.read(job_id) is None:
        job = Job(job_id, "app.task", Schedule("cron", "0 * * * *", "UTC"))
        store.change(job_id, partial(change.create, job=job))
    store.change(job_id, partial(change.run_now, uuid=f"{len(store.runs(job_id, limit=999))}"))
    found: Claim = store.change(job_id, partial(claim, fire=Fire(job_id), claimer=Claimer("w", LEASE)))
    assert found.run is not None
    run = store.change(job_id, partial(progress.begin, run=found.run, lease=LEASE))
    assert isinstance(run, Run)
    return run


def ended(store: Store, job_id: str = "a", **more: Any) -> Run:
    """A run of this job that has ended."""
    run = replace(begun(store, job_id), state=RunState.SUCCEEDED, **more)
    assert store.change(job_id, partial(progress.complete, run=run)).written
    return run


def words(text: str) -> Output:
    return Output((Line(NOON, "stdout", text),))


def test_it_keeps_what_a_run_said_and_nothing_else_of_it_changes(any_store: Store) -> None:
    run = ended(any_store, output=SAID)
    before = any_store.runs("a"), any_store.fires("a"), any_store.read("a")
    assert any_store.output(run.id) is None, "it is kept apart, or not at all"
    any_store.keep_output(run, SAID)
    assert any_store.output(run.id) == SAID
    assert (any_store.runs("a"), any_store.fires("a"), any_store.read("a")) == before
    assert any_store.runs("a")[0].output is None


def test_i6_what_is_kept_of_a_run_is_never_written_over(any_store: Store) -> None:
    run = ended(any_store)
    any_store.keep_output(run, words("first"))
    any_store.keep_output(run, words("second"))
    assert any_store.output(run.id) == words("first")


def test_i6_an_open_run_and_one_that_never_was_keep_nothing(any_store: Store) -> None:
    run = begun(any_store)
    any_store.keep_output(run, SAID)
    any_store.keep_output(replace(run, id="a:999"), SAID)
    assert (any_store.output(run.id), any_store.output("a:999"), any_store.output("\ud800\0")) == (None, None, None)


def test_it_keeps_the_newest_of_each_job_and_those_of_others_stay(any_store: Store) -> None:
    other = ended(any_store, "b")
    any_store.keep_output(other, words("other"))
    runs = [ended(any_store) for _ in range(KEPT_PER_JOB + 3)]
    for number, run in enumerate(runs):
        any_store.keep_output(run, words(str(number)))
    found = [any_store.output(run.id) for run in runs]
    assert found[:3] == [None] * 3
    assert found[3:] == [words(str(number)) for number in range(3, KEPT_PER_JOB + 3)]
    assert any_store.output(other.id) == words("other")


def test_of_all_jobs_together_it_keeps_only_so_many(any_store: Store) -> None:
    runs = [ended(any_store, job_id) for job_id in ("a", "b", "c") for _ in range(2)]
    for run in runs:
        any_store.keep_output(run, words(run.id), in_all=4)
    assert [any_store.output(run.id) for run in runs] == [None, None, *(words(run.id) for run in runs[2:])]


def test_it_keeps_the_longest_that_there_can_be(any_store: Store) -> None:
    recorder = Recorder(FakeClock())
    for text in ("\x01" * 5000, "é" * 5000, '"\\' * 5000, "\ud800", "x" * 200_000):
        recorder.printed("stdout", text.encode(errors="backslashreplace") + b"\n")
    output, run = recorder.end(), ended(any_store)
    any_store.keep_output(run, output)
    assert any_store.output(run.id) == output
    assert len(output.to_text().encode()) < MAX_BYTES + 4096


def test_another_process_of_the_store_reads_it(place: Place) -> None:
    run = ended(place.open())
    place.opened[0].keep_output(run, SAID)
    place.opened[0].close()
    assert place.open().output(run.id) == SAID
