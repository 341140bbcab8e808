"""What a run said, found by its id or its job, and waited for a moment where it has only just ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from hermes_cron.client import Client
from hermes_cron.errors import RunNotEnded, RunNotFound
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.output import Line, Output
from hermes_cron.rules import change, progress
from hermes_cron.rules.claim import Claim, Claimer, claim
from hermes_cron.run import Run, RunState
from hermes_cron.runlogs import output_of, output_soon, run_or_last
from tests.unit.parts import LEASE, NOON, FakeClock, Scheduler, add

SAID = Output((Line(NOON, "stdout", "high water"),))


@pytest.fixture
def client(store: Store) -> Client:
    return Client(store, Scheduler(), {})


def begun(store: Store, job_id: str = "a") -> Run:
    store.change(job_id, partial(change.run_now, uuid=f"u{len(store.runs(job_id))}"))
    found: Claim = store.change(job_id, partial(claim, fire=Fire(job_id), claimer=Claimer("w", LEASE)))
    assert found.run is not None
    return found.run


def ended(store: Store) -> Run:
    run = replace(begun(store), state=RunState.SUCCEEDED)
    store.change("a", partial(progress.complete, run=run))
    return store.runs(run_id=run.id)[0]


def test_a_name_is_that_of_a_run_or_else_of_a_job_whose_last_run_is_meant(store: Store, client: Client) -> None:
    add(store)
    first, second = ended(store), ended(store)
    assert run_or_last(client, first.id) == first
    assert run_or_last(client, "a") == second
    live = begun(store)
    assert run_or_last(client, "a").id == live.id
    with pytest.raises(RunNotFound, match="nobody"):
        run_or_last(client, "nobody")


def test_a_live_run_has_said_nothing_that_is_kept(store: Store, client: Client) -> None:
    add(store)
    live = begun(store)
    for ask in (output_of, output_soon):
        with pytest.raises(RunNotEnded, match=f"{live.id} has not ended"):
            ask(client, live)


def test_what_is_kept_a_moment_after_the_outcome_is_waited_for(store: Store, client: Client, clock: FakeClock) -> None:
    add(store)
    run = ended(store)
    asked: list[str] = []

    class Slow(Client):
        def output(self, run_id: str) -> Output | None:
            asked.append(run_id)
            if len(asked) == 3:
                store.keep_output(run, SAID)
            return super().output(run_id)

    slow = Slow(store, Scheduler(), {})
    assert output_of(slow, run) is None
    assert output_soon(slow, run, seconds=60) == SAID
    assert len(asked) == 3


def test_of_a_run_that_ended_a_while_ago_nothing_is_waited_for(store: Store, clock: FakeClock) -> None:
    add(store)
    run = ended(store)
    clock.now += timedelta(seconds=61)
    asked: list[str] = []

    class Counting(Client):
        def output(self, run_id: str) -> Output | None:
            asked.append(run_id)
            return super().output(run_id)

    assert output_soon(Counting(store, Scheduler(), {}), run, seconds=60) is None
    assert len(asked) == 1


def test_a_store_whose_clock_stands_still_is_not_waited_for_for_ever(store: Store, client: Client) -> None:
    add(store)
    assert output_soon(client, ended(store), seconds=0.2) is None
