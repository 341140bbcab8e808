"""`hermes-cron runs`."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.output import Line, Output
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.run import RunState
from tests.unit.cli.conftest import Cli, work
from tests.unit.parts import NOON


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


SAID = Output(
    (Line(NOON, "stdout", "high\x1b[2J water \u202e"), Line(NOON, "app.tide", "late\n2026-07-01 forged", "warning")),
    (Line(NOON + timedelta(milliseconds=1250), "stderr", "x" * 5000),), 42,
)  # fmt: skip


def test_it_shows_what_a_run_said_and_nothing_in_it_moves_a_cursor(cli: Cli, store: Store) -> None:
    cli.add("ping", "every 5m", "--timezone", "Asia/Tokyo")
    cli.good("jobs", "run", "ping")
    run = work(store, "ping")
    store.keep_output(run, SAID)
    shown = cli.good("runs", "logs", run.id)
    assert shown.out.splitlines() == [
        "2026-07-01 21:00:00.000  stdout   high\\x1b[2J water \\u202e",
        "2026-07-01 21:00:00.000  warning  app.tide: late", "    2026-07-01 forged",
        "... 42 bytes are left out here ...",
        "2026-07-01 21:00:01.250  stderr   " + "x" * 5000,
    ]  # fmt: skip
    assert shown.err == ""
    assert cli.good("runs", "logs", "ping").out == shown.out
    found = cli.good("runs", "logs", run.id, "--json").json
    assert (found["run_id"], found["job_id"], found["state"], found["kept"]) == (run.id, "ping", "succeeded", True)
    assert (found["left_out"], found["left_out_after"]) == (42, 2)
    assert found["lines"][1] == {
        "at": "2026-07-01T12:00:00+00:00", "source": "app.tide", "level": "warning", "text": "late\n2026-07-01 forged",
    }  # fmt: skip
    assert found["lines"][0]["level"] is None


def test_it_shows_what_the_last_run_of_a_job_said(cli: Cli, store: Store) -> None:
    cli.add()
    for text in ("first", "second"):
        cli.good("jobs", "run", "ping")
        store.keep_output(work(store, "ping"), Output((Line(NOON, "stdout", text),)))
    assert cli.good("runs", "logs", "ping").out.split()[-1] == "second"
    cli.good("jobs", "remove", "ping")
    assert cli.good("runs", "logs", "ping").out.split()[-1] == "second"


def test_it_says_so_where_nothing_is_kept_of_what_a_run_said(cli: Cli, store: Store) -> None:
    cli.add()
    cli.good("jobs", "run", "ping")
    run = work(store, "ping")
    shown = cli.good("runs", "logs", run.id)
    assert (shown.out, shown.err.startswith(f"note: nothing is kept of what {run.id} said")) == ("", True)
    assert cli.good("runs", "logs", run.id, "--json").json["kept"] is False


def test_it_says_that_a_run_has_not_ended_and_to_try_again(cli: Cli, store: Store) -> None:
    cli.add()
    cli.good("jobs", "run", "ping")
    claimer = Claimer("worker:1", timedelta(seconds=30))
    run = store.change("ping", partial(claim, fire=Fire("ping"), claimer=claimer)).run
    assert run is not None
    for name in (run.id, "ping"):
        answer = cli("runs", "logs", name)
        assert (answer.code, answer.out) == (75, "")
        assert f"The run {run.id} has not ended." in answer.err
        assert "[run_not_ended]" in answer.err


@pytest.mark.parametrize("name", ["nobody", "ping"])
def test_it_has_no_words_of_who_never_ran(cli: Cli, name: str) -> None:
    cli.add()
    answer = cli("runs", "logs", name)
    assert answer.code == 1
    assert "[run_not_found]" in answer.err


def test_a_long_reason_is_cut_in_the_list_and_whole_in_json(cli: Cli, store: Store) -> None:
    cli.add()
    cli.good("jobs", "run", "ping")
    work(store, "ping", RunState.FAILED, "wide " * 90)
    assert max(map(len, cli.good("runs", "list").out.splitlines())) < 300
    assert cli.good("runs", "list").out.rstrip().endswith("wide ...")
    assert len(cli.good("runs", "list", "--json").json[0]["error"]) > 400


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--from", "2031-01-02T00:00:00Z", "--to", "2031-01-01T00:00:00Z"), "is not before"),
        (("--from", "2099-01-01T00:00:00Z", "--to", "2099-01-02T00:00:00Z"), "is still to come"),
        (("--from", "yesterday"), "Write an instant as in"),
    ],
)
def test_an_audit_of_a_time_that_is_none_is_refused(cli: Cli, flags: tuple[str, ...], says: str) -> None:
    answer = cli("runs", "audit", *flags)
    assert answer.code == 2
    assert says in answer.err
