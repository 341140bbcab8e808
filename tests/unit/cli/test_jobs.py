"""`hermes-cron jobs`."""

from __future__ import annotations

import threading
from pathlib import Path

from hermes_cron.interfaces import Store
from hermes_cron.run import RunState
from tests.unit.cli.conftest import APP, Cli, work


def test_it_adds_a_job_without_any_configuration_and_says_what_it_will_do(cli: Cli, here: Path) -> None:
    before = sorted(here.iterdir())
    answer = cli.add("ping", "0 6 * * 1-5", "--timezone", "Europe/Lisbon")
    lines = answer.out.splitlines()
    assert lines[0].startswith("Added ping: At 06:00")
    assert "(Europe/Lisbon), task http." in lines[0]
    assert [line.split()[0] for line in lines[1:5]] == ["next", "then", "and", "arm"]
    assert all("06:00:00 Europe/Lisbon (in " in line for line in lines[1:4])
    assert "ticker of a running `hermes-cron serve`" in lines[4]
    assert sorted(here.iterdir()) == before
    assert (cli.home / "hermes-cron.db").stat().st_mode & 0o077 == 0


def test_it_says_once_where_a_bare_duration_could_be_taken_for_a_repetition(cli: Cli) -> None:
    answer = cli.add("soon", "30m")
    assert "Added soon: once, at " in answer.out
    assert "warning: '30m' means once; write 'every 30m' to repeat." in answer.out


def test_it_warns_of_clock_changes(cli: Cli) -> None:
    answer = cli.add("night", "30 2 * * *", "--timezone", "Europe/Brussels")
    assert "02:30 does not exist on " in answer.out
    assert "02:30 comes twice on " in answer.out


def test_it_adds_a_task_of_the_app_in_the_current_folder(cli: Cli) -> None:
    words = ("jobs", "add", "tide", "--schedule", "every 1h", "--task", "tide", "--args", '{"place": "Porto"}')
    cli.good(*words, "-A", "harbour:app")
    cli.good("-A", "harbour", "jobs", "edit", "tide", "--args", '{"place": "Faro"}')
    assert cli("jobs", "show", "tide", "--json").json["args"] == {"place": "Faro"}


def test_it_refuses_arguments_that_the_task_cannot_be_called_with(cli: Cli) -> None:
    answer = cli("-A", "harbour", "jobs", "add", "tide", "--schedule", "every 1h", "--task", "tide")
    assert answer.code == 2
    assert "missing a required" in answer.err


def test_it_takes_every_policy_as_people_write_it(cli: Cli) -> None:
    cli.add(
        "ping", "every 1h", "--anchor", "fire", "--overlap", "queue", "--misfire", "run_all(5)", "--grace", "10m",
        "--repeat", "7", "--max-attempts", "3", "--backoff", "30s", "--backoff-cap", "1h", "--timeout", "90",
        "--reruns", "2", "--starts-at", "2030-01-01T00:00:00Z", "--ends-at", "2031-01-01T00:00:00Z",
        "--jitter", "5m", "--pause-on-failure", "4",
    )  # fmt: skip
    assert cli("jobs", "show", "ping", "--json").json["policy"] == {
        "overlap": "queue", "misfire": "run_all", "misfire_max": 5, "grace": 600.0, "repeat": 7, "max_attempts": 3,
        "backoff": 30.0, "backoff_cap": 3600.0, "timeout": 90.0, "reruns": 2,
        "starts_at": "2030-01-01T00:00:00+00:00", "ends_at": "2031-01-01T00:00:00+00:00", "jitter": 300.0,
        "pause_on_failure": 4,
    }  # fmt: skip


def test_it_answers_a_change_in_json_with_what_comes_next(cli: Cli) -> None:
    found = cli.add("ping", "every 5m", "--repeat", "2", "--json").json
    assert (found["id"], found["state"], found["arm"], found["kind"]) == ("ping", "scheduled", "ticker", "every")
    assert found["words"] == "every 5 minutes"
    assert found["upcoming"][0] == found["next_fire_at"] == found["wake_at"]
    assert len(found["upcoming"]) == 2


def test_it_foresees_one_fire_only_where_the_next_hangs_on_the_end_of_a_run(cli: Cli) -> None:
    assert len(cli.add("ping", "every 5m", "--anchor", "completion", "--json").json["upcoming"]) == 1
    assert "counted from the end of that run" in cli("jobs", "next", "ping").out


def test_it_changes_what_is_given_and_nothing_else(cli: Cli) -> None:
    cli.add("ping", "every 5m", "--grace", "10m", "--repeat", "7")
    before = cli("jobs", "show", "ping", "--json").json
    found = cli.good("jobs", "edit", "ping", "--repeat", "9", "--if-revision", "1", "--json").json
    assert found["policy"] == {**before["policy"], "repeat": 9}
    assert (found["next_fire_at"], found["revision"]) == (before["next_fire_at"], 2)
    found = cli.good("jobs", "edit", "ping", "--grace", "", "--repeat", "", "--json").json
    assert (found["policy"]["grace"], found["policy"]["repeat"]) == (300.0, None)


def test_it_refuses_an_edit_of_something_that_was_changed_meanwhile(cli: Cli) -> None:
    cli.add()
    cli.good("jobs", "edit", "ping", "--repeat", "9")
    answer = cli("jobs", "edit", "ping", "--repeat", "8", "--if-revision", "1")
    assert answer.code == 1
    assert "it is at revision 2. [job_changed]" in answer.err


def test_it_pauses_and_resumes(cli: Cli) -> None:
    cli.add()
    assert "paused: the port is closed" in cli.good("jobs", "pause", "ping", "--reason", "the port is closed").out
    assert cli.good("jobs", "next", "ping").out == "ping does not fire: it is paused.\n"
    assert cli("jobs", "run", "ping").code == 1
    assert "next" in cli.good("jobs", "resume", "ping").out


def test_it_removes_without_a_question_where_nobody_could_answer(cli: Cli) -> None:
    cli.add()
    assert cli.good("jobs", "remove", "ping").out.startswith("Removed ping.")
    assert cli("jobs", "show", "ping").code == 1
    assert cli.add().code == 0


def test_it_lists_jobs_with_their_zones(cli: Cli) -> None:
    assert cli.good("jobs", "list").out.startswith("There are no jobs. `hermes-cron jobs add")
    cli.add("b", "daily at 09:00", "--timezone", "Asia/Tokyo")
    cli.add("a", "every 5m")
    head, first, second = cli.good("jobs", "list").out.splitlines()
    assert head.split() == ["JOB", "STATE", "SCHEDULE", "TASK", "NEXT", "FIRE", "ARM", "FAILED"]
    assert first.startswith("a ")
    assert "UTC" in first
    assert second.startswith("b ")
    assert "09:00:00 Asia/Tokyo" in second
    assert [job["id"] for job in cli("jobs", "list", "--json").json] == ["a", "b"]


def test_it_shows_as_many_next_fires_as_asked(cli: Cli) -> None:
    cli.add("ping", "every 5m", "--repeat", "7")
    assert len(cli.good("jobs", "next", "ping").out.splitlines()) == 5
    assert len(cli.good("jobs", "next", "ping", "--count", "1000").out.splitlines()) == 7
    assert len(cli("jobs", "next", "ping", "--count", "3", "--json").json["upcoming"]) == 3


def test_it_waits_for_the_outcome_of_a_run(cli: Cli, store: Store) -> None:
    cli.add()
    worker = threading.Thread(target=work, args=(store, "ping", RunState.SUCCEEDED, "", '"up"'))
    worker.start()
    answer = cli.good("jobs", "run", "ping", "--wait", "100s")
    worker.join()
    assert answer.out.startswith("ping succeeded in ")
    assert 'result  "up"' in answer.out


def test_it_exits_1_when_the_run_it_waits_for_failed(cli: Cli, store: Store) -> None:
    cli.add()
    worker = threading.Thread(target=work, args=(store, "ping", RunState.FAILED, "no route to host"))
    worker.start()
    answer = cli("jobs", "run", "ping", "--wait", "100", "--json")
    worker.join()
    assert answer.code == 1
    assert (answer.json["state"], answer.json["reason"], len(answer.json["runs"])) == ("failed", "no route to host", 1)


def test_it_exits_75_when_nobody_runs_what_it_waits_for(cli: Cli) -> None:
    cli.add()
    answer = cli("jobs", "run", "ping", "--wait", "0.3s")
    assert answer.code == 75
    assert answer.err.startswith("ping has no outcome after 0.30s: it is waiting. A worker (`hermes-cron serve`) must")


def test_it_asks_for_a_run_and_leaves(cli: Cli) -> None:
    cli.add()
    assert "a live worker begins it within 15 s" in cli.good("jobs", "run", "ping").out
    assert cli.good("jobs", "run", "ping", "--json").json["key"].startswith("manual:")


def test_it_lists_what_the_app_declares_and_nobody_has_started_yet(cli: Cli, here: Path) -> None:
    (here / "harbour.py").write_text(APP + '\n\n@app.cron("every 1h", id="buoy")\ndef buoy(): ...\n')
    answer = cli.good("-A", "harbour", "jobs", "list")
    assert "note: not there yet: buoy;" in answer.err
    assert cli.good("-A", "harbour", "jobs", "list", "--json").json == []
    assert cli.good("jobs", "list").err == ""


def test_it_says_at_each_change_that_everything_is_stopped(cli: Cli) -> None:
    cli.good("stop")
    assert "everything is stopped" in cli.add("ping").err
    assert "everything is stopped" in cli.good("jobs", "list").err
    cli.good("start")
    assert cli.good("jobs", "pause", "ping").err == ""


def test_it_shows_the_beginning_of_a_long_result(cli: Cli, store: Store) -> None:
    cli.add("ping")
    worker = threading.Thread(target=work, args=(store, "ping"), kwargs={"result": f'"{"y" * 5000}"'})
    worker.start()
    answer = cli.good("jobs", "run", "ping", "--wait", "60s")
    worker.join()
    assert "(5002 characters; `hermes-cron runs show ping:" in answer.out
    assert len(answer.out) < 600
