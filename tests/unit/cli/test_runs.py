"""`hermes-cron runs`."""

from __future__ import annotations

from hermes_cron.interfaces import Store
from hermes_cron.run import RunState
from tests.unit.cli.conftest import Cli, work


def test_it_shows_each_fire_with_its_outcome_and_its_last_run(cli: Cli, store: Store) -> None:
    cli.add("ping", "every 5m", "--timezone", "Asia/Tokyo")
    cli.good("jobs", "run", "ping")
    run = work(store, "ping", RunState.FAILED, "no route\nto host")
    head, row = cli.good("runs", "list").out.splitlines()
    assert head.split() == ["JOB", "DUE", "OUTCOME", "TRIES", "STARTED", "LATE", "TOOK", "LAST", "RUN", "WORKER", "WHY"]
    assert row.startswith("ping ")
    assert "Asia/Tokyo (by hand)" in row
    assert " failed " in row
    assert f" {run.id} " in row
    assert " worker:1 " in row
    assert row.endswith("no route | to host")


def test_it_nests_the_runs_of_a_fire_in_json(cli: Cli, store: Store) -> None:
    cli.add("ping", "every 1h", "--max-attempts", "2", "--backoff", "0.1s")
    cli.good("jobs", "run", "ping")
    work(store, "ping", RunState.FAILED, "one")
    work(store, "ping", result='{"depth": 3}')
    (fire,) = cli.good("runs", "list", "ping", "--json").json
    assert (fire["state"], fire["attempts"], fire["worker"], fire["manual"]) == ("succeeded", 2, "worker:1", True)
    assert [run["error"] for run in fire["runs"]] == ["one", ""]
    assert fire["runs"][1]["result"] == {"depth": 3}
    assert fire["late_s"] >= 0
    assert fire["took_s"] >= 0


def test_it_shows_one_run_whole(cli: Cli, store: Store) -> None:
    cli.add()
    cli.good("jobs", "run", "ping")
    run = work(store, "ping", result='{"depth": 3}')
    lines = dict(line.split(None, 1) for line in cli.good("runs", "show", run.id).out.splitlines())
    assert lines["run"] == run.id
    assert lines["state"] == "succeeded"
    assert lines["kind"] == "manual"
    assert lines["arguments"] == '{"url": "https://example.com/"}'
    assert lines["result"] == '{"depth": 3}'
    assert cli("runs", "show", run.id, "--json").json["fence"] == run.fence


def test_it_says_that_nothing_has_come_due_yet(cli: Cli) -> None:
    assert cli.good("runs", "list").out == "No fire has come due yet.\n"
    cli.add()
    assert cli.good("runs", "list", "ping").out == "No fire of ping has come due yet.\n"
    assert cli("runs", "list", "pong").code == 1


def test_it_keeps_the_ledger_of_a_job_that_is_gone(cli: Cli, store: Store) -> None:
    cli.add()
    cli.good("jobs", "run", "ping")
    work(store, "ping")
    cli.good("jobs", "remove", "ping")
    assert len(cli.good("runs", "list", "ping", "--json").json) == 1


def test_it_goes_on_page_by_page_from_a_cursor_or_an_instant(cli: Cli) -> None:
    cli.add()
    for _ in range(5):
        cli.good("jobs", "run", "ping")
    whole = cli("runs", "list", "--json").json
    first = cli.good("runs", "list", "ping", "--limit", "2")
    cursor = first.err.partition("--before ")[2].strip()
    assert cursor == whole[1]["cursor"]
    rest = cli("runs", "list", "--before", cursor, "--json").json
    assert [row["key"] for row in rest] == [row["key"] for row in whole[2:]]
    assert cli.good("runs", "list", "--before", cursor).err == ""
    older = cli("runs", "list", "ping", "--before", whole[1]["fire_at"], "--json").json
    assert [row["key"] for row in older] == [row["key"] for row in whole[2:]]
    assert cli.good("runs", "list", "--before", "2001-01-01T00:00:00Z").out == "No fire is kept from before that.\n"
    refused = cli("runs", "list", "--before", "yesterday")
    assert refused.code == 2
    assert "no instant and no cursor" in refused.err


def test_it_shows_no_more_fires_than_asked(cli: Cli) -> None:
    cli.add()
    for _ in range(3):
        cli.good("jobs", "run", "ping")
    assert len(cli("runs", "list", "--limit", "2", "--json").json) == 2
