"""`/api/cron/runs`: the ledger page by page, and one run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from hermes_cron.fire import Fire
from hermes_cron.output import Line, Output
from hermes_cron.rules import progress
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.run import Run, RunState
from tests.unit.api.conftest import Api, code
from tests.unit.parts import LEASE, NOON

RUNS = "/api/cron/runs"


def claimed(api: Api, job_id: str) -> Run:
    run = api.store.change(job_id, partial(claim, fire=Fire(job_id), claimer=Claimer("w", LEASE))).run
    assert run is not None
    begun = api.store.change(job_id, partial(progress.begin, run=run, lease=LEASE))
    assert isinstance(begun, Run)
    return begun


def work(api: Api, job_id: str, state: RunState = RunState.SUCCEEDED, **more: Any) -> Run:
    """Be the worker for one run of this job."""
    ended = replace(claimed(api, job_id), state=state, **more)
    api.store.change(job_id, partial(progress.complete, run=ended))
    return ended


def pages(api: Api, query: str = "", limit: int = 3) -> list[Any]:
    found, cursor = [], ""
    while True:
        page = api.good("GET", f"{RUNS}?limit={limit}{query}{cursor}")
        found.append(page["items"])
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


@pytest.fixture
def busy(api: Api) -> Api:
    """Three jobs that fire at the very same instants, and fired four times each."""
    for name in "abc":
        api.add(name, schedule="*/15 * * * *")
    for _ in range(4):
        api.clock.advance(900)
        for name in "abc":
            work(api, name, RunState.FAILED if name == "b" else RunState.SUCCEEDED)
    return api


def test_it_lists_fires_the_newest_first_each_with_its_runs(busy: Api) -> None:
    fires = busy.good("GET", RUNS)["items"]
    assert len(fires) == 12
    assert [fire["fire_at"] for fire in fires] == sorted((fire["fire_at"] for fire in fires), reverse=True)
    assert all([run["job_id"] for run in fire["runs"]] == [fire["job_id"]] for fire in fires)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 12])
def test_its_pages_hold_every_fire_once_even_those_of_one_instant(busy: Api, limit: int) -> None:
    found = [(fire["job_id"], fire["key"]) for page in pages(busy, limit=limit) for fire in page]
    assert len(found) == len(set(found)) == 12


def test_fires_that_come_due_meanwhile_move_no_page(busy: Api) -> None:
    first = busy.good("GET", f"{RUNS}?limit=5")
    busy.clock.advance(900)
    for name in "abc":
        work(busy, name)
    second = busy.good("GET", f"{RUNS}?limit=50&cursor={first['next']}")
    keys = [(fire["job_id"], fire["key"]) for fire in first["items"] + second["items"]]
    assert len(keys) == len(set(keys)) == 12


def test_it_filters_by_job_and_outcome(busy: Api) -> None:
    assert [len(page) for page in pages(busy, "&job=b")] == [3, 1]
    assert {fire["job_id"] for page in pages(busy, "&state=failed") for fire in page} == {"b"}
    assert busy.good("GET", f"{RUNS}?state=missed")["items"] == []
    assert busy.ask("GET", f"{RUNS}?state=lost").status_code == 400
    assert code(busy.ask("GET", f"{RUNS}?job=nobody")) == (404, "job_not_found")


def test_the_ledger_of_a_job_that_is_no_more_stays(busy: Api) -> None:
    busy.good("DELETE", "/api/cron/jobs/b")
    assert len(busy.good("GET", f"{RUNS}?job=b")["items"]) == 4


def test_a_parameter_is_text_even_where_it_says_null(busy: Api) -> None:
    assert code(busy.ask("GET", f"{RUNS}?job=null")) == (404, "job_not_found")
    for query in ("state=null", "cursor=null", "job="):
        assert code(busy.ask("GET", f"{RUNS}?{query}")) == (400, "query_invalid")


@pytest.mark.parametrize("cursor", ["x", "W10", "WyJhIl0", "WzEsMiwzLDRd", "%00", "WyJhIiwiYiIsImMiLCJkIl0"])
def test_it_refuses_a_cursor_of_somebody_else(api: Api, cursor: str) -> None:
    assert code(api.ask("GET", f"{RUNS}?cursor={cursor}")) == (400, "query_invalid")


def test_it_shows_one_run(api: Api) -> None:
    api.add()
    api.clock.advance(900)
    run = work(api, "tide.north", RunState.FAILED, error="the sea is away", result='{"level": 3}')
    shown = api.good("GET", f"{RUNS}/{run.id}")
    assert (shown["state"], shown["error"], shown["result"]) == ("failed", "the sea is away", {"level": 3})
    assert code(api.ask("GET", f"{RUNS}/nobody")) == (404, "run_not_found")


def test_it_cancels_a_live_run_and_runs_an_ended_one_again(api: Api) -> None:
    api.add()
    api.clock.advance(900)
    live = claimed(api, "tide.north")
    answer = api.ask("POST", f"{RUNS}/{live.id}/cancel")
    assert (answer.status_code, answer.json["state"]) == (202, "started")
    api.clock.advance(timedelta(hours=1).total_seconds())
    ended = replace(live, state=RunState.CANCELLED)
    api.store.change("tide.north", partial(progress.complete, run=ended))
    assert code(api.ask("POST", f"{RUNS}/{live.id}/cancel")) == (404, "run_not_found")
    again = api.ask("POST", f"{RUNS}/{live.id}/retry")
    assert (again.status_code, again.json["job_id"]) == (202, "tide.north")


def test_it_shows_what_an_ended_run_said(api: Api) -> None:
    api.add()
    api.clock.advance(900)
    live = claimed(api, "tide.north")
    assert code(api.ask("GET", f"{RUNS}/{live.id}/logs")) == (409, "run_not_ended")
    api.store.change("tide.north", partial(progress.complete, run=replace(live, state=RunState.SUCCEEDED)))
    assert api.good("GET", f"{RUNS}/{live.id}/logs")["kept"] is False
    said = Output((Line(NOON, "stdout", "a\x1b"), Line(NOON, "app", "b", "info")), (Line(NOON, "stderr", "c"),), 7)
    api.store.keep_output(live, said)
    shown = api.good("GET", f"{RUNS}/{live.id}/logs")
    assert [(line["source"], line["level"], line["text"]) for line in shown.pop("lines")] == [
        ("stdout", None, "a\x1b"), ("app", "info", "b"), ("stderr", None, "c"),
    ]  # fmt: skip
    assert shown == {
        "run_id": live.id, "job_id": "tide.north", "state": "succeeded", "kept": True, "left_out": 7,
        "left_out_after": 2,
    }  # fmt: skip
    assert code(api.ask("GET", f"{RUNS}/nobody/logs")) == (404, "run_not_found")
