"""The policies of a job as their users meet them: real processes, real sockets, jobs added at the command line."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest

from hermes_cron.clock import instant_text, utc_now
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import FireState
from hermes_cron.run import RunState
from tests.integration.system import System, kill_group

pytestmark = [pytest.mark.processes, pytest.mark.redis]
Make = Callable[..., System]
SHORT_LEASE = {"HERMES_CRON_WORKER__LEASE_SECONDS": "15"}
"""So that a body hears within seconds that it is to stop, and a dead worker is noticed soon."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    """One NAS, one web and one worker for the tests that need nothing broken; each has jobs of its own."""
    system = System(tmp_path_factory.mktemp("policies"), redis_url, env=SHORT_LEASE)
    system.start_nas()
    system.start_web()
    system.start_worker(0, "-c", "8")
    system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")
    yield system
    system.close()


def outcomes(system: System, job_id: str) -> list[tuple[str, str]]:
    """State and reason of each fire, the oldest first."""
    return [(str(entry.state), entry.reason) for entry in reversed(system.store.fires(job_id, limit=1000))]


def states(system: System, job_id: str) -> list[str]:
    """The states of its fires, the oldest first."""
    return [state for state, _ in outcomes(system, job_id)]


def spans(system: System, job_id: str) -> list[tuple[datetime, datetime]]:
    """From when to when each of its ended runs had its body."""
    runs = [run for run in system.store.runs(job_id, limit=1000) if run.started_at and run.ended_at]
    return sorted((run.started_at, run.ended_at) for run in runs)


def overlapping(system: System, job_id: str) -> bool:
    """Whether two of its bodies ran at one time."""
    return any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans(system, job_id)))


def job(system: System, job_id: str) -> Job:
    """The job as it is kept."""
    return system.store.read(job_id).job


def good(system: System, *arguments: str) -> str:
    """What a command that must succeed prints."""
    done = system.cli(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# -- late fires --------------------------------------------------------------------------------------------------


@pytest.mark.timeout(240)
def test_i12_an_outage_of_all_workers_is_made_good_by_each_jobs_misfire_policy(
    make_system: Make, redis_url: str
) -> None:
    system = make_system(redis_url)
    system.start_nas()
    system.start_web()
    system.add("latest", "every 2s")
    system.add("all", "every 2s", "mark", "--misfire", "run_all(3)")
    system.add("skip-late", "in 2s", "mark", "--misfire", "skip", "--grace", "3s")
    system.add("skip-soon", "in 2s", "mark", "--misfire", "skip")
    due = job(system, "skip-late").next_fire_at
    system.wait(lambda: utc_now() > due + timedelta(seconds=8), "an outage of eight seconds")
    system.start_worker()
    system.wait(lambda: system.ran("latest") and system.ran("skip-soon") and len(system.ran("all")) >= 3, "the runs")
    system.wait(lambda: states(system, "skip-late"), "the outcome of what came too late")
    for job_id in ("latest", "all"):
        good(system, "jobs", "pause", job_id)

    # The first claim decides all that came due until then, also what did while the worker was starting.
    assert states(system, "latest")[:2] == ["missed", "succeeded"]
    assert system.store.fires("latest", limit=1000)[-1].count >= 2, "adjacent fires with one outcome are one row"
    assert states(system, "all")[:4] == ["missed", "succeeded", "succeeded", "succeeded"]
    ran = [row[2] for row in system.ran("all")]
    assert ran == sorted(ran), "oldest first"
    assert not overlapping(system, "all"), "one after another"
    assert outcomes(system, "skip-late") == [("missed", "too late")]
    assert states(system, "skip-soon") == ["succeeded"]
    assert job(system, "skip-late").state is JobState.COMPLETED
    good(system, "runs", "audit")


# -- overlap -----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(240)
def test_a_fire_beside_a_live_run_is_skipped_queued_allowed_or_takes_its_place(shared: System) -> None:
    policies = ("skip", "queue", "allow", "replace")
    for policy in policies:
        shared.add(f"o-{policy}", "every 2s", "slow", "--args", '{"seconds": 5}', "--overlap", policy)
    shared.wait(lambda: all(len(shared.ran(f"o-{p}", "began")) >= 2 for p in policies), "two runs of each", 60)
    for policy in policies:
        good(shared, "jobs", "pause", f"o-{policy}")
    shared.wait(lambda: not any(shared.store.read(f"o-{p}").open_runs for p in policies), "the end of the last")

    assert ("skipped", "overlap") in outcomes(shared, "o-skip")
    assert not overlapping(shared, "o-skip")
    queued = [entry for entry in shared.store.fires("o-queue", limit=1000) if entry.state is FireState.SUCCEEDED]
    starts = {run.fire_at: run.started_at for run in shared.store.runs("o-queue")}
    assert any(starts[entry.fire_at] - entry.fire_at > timedelta(seconds=1) for entry in queued), "one waited"
    assert ("skipped", "overlap") in outcomes(shared, "o-queue"), "a further one is skipped"
    assert not overlapping(shared, "o-queue")
    assert overlapping(shared, "o-allow")
    assert "skipped" not in states(shared, "o-allow")
    assert ("cancelled", "replaced") in outcomes(shared, "o-replace")
    assert not overlapping(shared, "o-replace"), "the old one has ended before the latest begins"


# -- time and failure --------------------------------------------------------------------------------------------


@pytest.mark.timeout(240)
def test_what_goes_over_its_time_is_told_and_fails_and_so_many_failures_in_a_row_pause_the_job(shared: System) -> None:
    flags = ("--args", '{"seconds": 60}', "--timeout", "1s", "--pause-on-failure", "2")
    shared.add("late", "every 2s", "slow", *flags)
    shared.wait(lambda: job(shared, "late").state is JobState.PAUSED, "the pause")
    assert job(shared, "late").reason == "2 failures in a row"
    failed = [run for run in shared.store.runs("late") if run.state is RunState.FAILED]
    assert [run.error for run in failed] == ["timed out after 1 s"] * 2
    assert all(run.ended_at - run.started_at < timedelta(seconds=30) for run in failed)
    shared.wait(lambda: "late" not in shared.armed(), "the disarm of the paused job")
    assert len(shared.ran("late", "began")) == 2


@pytest.mark.timeout(240)
def test_a_window_bounds_the_fires_and_jitter_moves_them_all_alike(shared: System) -> None:
    now = utc_now().replace(microsecond=0)
    first, last = now + timedelta(seconds=10), now + timedelta(seconds=15)
    window = ("--starts-at", instant_text(first), "--ends-at", instant_text(last))
    shared.add("window", "every 2s", "mark", "--misfire", "run_all(3)", "--overlap", "queue", *window)
    shared.add("jitter", "*/2 * * * * *", "mark", "--jitter", "1.5", "--repeat", "3")
    shared.wait(lambda: job(shared, "window").state is JobState.COMPLETED, "the end of the window")
    ran = [datetime.fromisoformat(row[2]) for row in shared.ran("window")]
    assert ran == [first + timedelta(seconds=2 * step) for step in range(3)]
    shared.wait(lambda: job(shared, "jitter").state is JobState.COMPLETED, "three fires")
    ran = [datetime.fromisoformat(row[2]) for row in shared.ran("jitter")]
    offset = job(shared, "jitter").offset
    assert timedelta(0) < offset < timedelta(seconds=1.5)
    assert all((at - offset).microsecond == 0 and (at - offset).second % 2 == 0 for at in ran)
    shared.wait(lambda: not {"window", "jitter"} & set(shared.armed()), "the disarm of what is completed")


@pytest.mark.timeout(240)
def test_retries_are_wakes_like_any_other_so_the_process_sleeps_between_attempts(make_system: Make) -> None:
    system = make_system("memory://")
    system.start_nas()
    job_id = add_with_a_long_first_retry(system)
    starts = 0
    serve: subprocess.Popen[bytes] | None = None

    def launch() -> bool:
        nonlocal serve, starts
        if serve is None or serve.poll() is not None:
            assert serve is None or serve.returncode == 0, system.logs()
            if system.knocked():
                starts += 1
                serve = system.start_serve("--exit-when-idle", "1")
        return job(system, job_id).state is JobState.COMPLETED

    system.wait(launch, "the attempt that succeeds", 90)
    assert starts >= 2, "it did not sleep before the first retry"
    assert [row[4] for row in system.ran(job_id, "tried")] == ["1", "2", "3"]
    (entry,) = system.store.fires(job_id)
    assert (entry.state, entry.failures, entry.attempts) == (FireState.SUCCEEDED, 2, 3)


def add_with_a_long_first_retry(system: System) -> str:
    """Add a job that succeeds at its third attempt, and whose wait before the second (drawn from its run's id) is long.

    Full jitter may draw next to nothing, and then nobody has a reason to sleep.
    """
    for number in range(50):
        job_id = f"flaky{number}"
        flags = ("--args", '{"good": 3}', "--max-attempts", "5", "--backoff", "12s", "--backoff-cap", "12s")
        system.add(job_id, "in 4s", "flaky", *flags)
        run_id = f"{job_id}:{job(system, job_id).fence + 1}"
        if int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:8]) / 2**64 > 0.5:
            return job_id
        good(system, "jobs", "remove", job_id, "--yes")
    raise AssertionError("fifty draws below a half")


@pytest.mark.timeout(240)
def test_i14_repeat_counts_fires_though_a_worker_is_killed_in_one_of_them(make_system: Make, redis_url: str) -> None:
    system = make_system(redis_url, env=SHORT_LEASE)
    system.start_nas()
    system.start_web()
    worker = system.start_worker()
    system.add("three", "every 5s", "slow", "--args", '{"seconds": 4}', "--repeat", "3", "--overlap", "queue")
    system.wait(lambda: len(system.ran("three", "began")) == 2, "the second run")
    kill_group(worker)
    system.start_worker(1)
    system.wait(lambda: job(system, "three").state is JobState.COMPLETED, "the end", 60)
    assert job(system, "three").counted == 3
    assert states(system, "three").count("succeeded") == 3
    fires = {row[2] for row in system.ran("three", "began")}
    assert len(fires) == 3
    abandoned = [run for run in system.store.runs("three") if run.state is RunState.ABANDONED]
    assert [run.error for run in abandoned] == ["its worker died; taken over"]
    system.wait(lambda: system.armed() == {}, "nothing of it stays armed")
    system.wait(lambda: system.load()["load"] == 0, "nothing to stay awake for")


# -- by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(240)
def test_a_manual_run_waits_for_the_live_one_and_counts_for_nothing(shared: System) -> None:
    shared.add("by-hand", "every 8s", "slow", "--args", '{"seconds": 6}', "--repeat", "2")
    shared.wait(lambda: shared.ran("by-hand", "began"), "the scheduled run")
    before = job(shared, "by-hand")
    good(shared, "jobs", "run", "by-hand")
    entry = shared.store.fires("by-hand")[0]
    assert (entry.manual, entry.state) == (True, FireState.WAITING)
    assert job(shared, "by-hand").next_fire_at == before.next_fire_at
    shared.wait(lambda: len(shared.ran("by-hand", "ended")) >= 2, "both")
    shared.wait(lambda: job(shared, "by-hand").state is JobState.COMPLETED, "the second scheduled fire")
    assert not overlapping(shared, "by-hand")
    rows = shared.store.fires("by-hand")
    assert sorted((entry.manual, str(entry.state)) for entry in rows) == [
        (False, "succeeded"), (False, "succeeded"), (True, "succeeded"),
    ]  # fmt: skip
    assert job(shared, "by-hand").counted == 2


@pytest.mark.timeout(240)
def test_a_running_run_is_cancelled_by_hand_and_a_dead_letter_is_replayed(shared: System) -> None:
    shared.add("letter", "every 1h", "slow", "--args", '{"seconds": 60}')
    good(shared, "jobs", "run", "letter")
    run_id = shared.wait(lambda: shared.store.read("letter").open_runs, "the run")[0].id
    shared.wait(lambda: shared.ran("letter", "began"), "its body")
    good(shared, "runs", "cancel", run_id, "--reason", "enough of it")
    shared.wait(lambda: states(shared, "letter") == ["cancelled"], "its end")
    assert "enough of it" in good(shared, "runs", "show", run_id)
    assert "letter" not in good(shared, "runs", "list", "--dead"), "what somebody cancelled is no dead letter"

    good(shared, "jobs", "edit", "letter", "--task", "fail", "--args", "{}")
    assert shared.cli("jobs", "run", "letter", "--wait", "50s").returncode == 1
    (dead,) = json.loads(good(shared, "runs", "list", "letter", "--dead", "--json"))
    assert dead["state"] == "failed"
    assert "as it should" in dead["error"]
    good(shared, "jobs", "edit", "letter", "--task", "mark")
    good(shared, "runs", "retry", dead["runs"][-1]["id"])
    shared.wait(lambda: shared.ran("letter"), "the replay")
    shared.wait(lambda: states(shared, "letter") == ["cancelled", "failed", "succeeded"], "its outcome")


# -- the global stop ---------------------------------------------------------------------------------------------


@pytest.mark.timeout(240)
def test_i15_a_global_stop_shuts_every_door_and_its_end_skips_what_came_due(make_system: Make, redis_url: str) -> None:
    system = make_system(redis_url)
    system.start_nas()
    system.start_web()
    system.start_worker()
    system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")
    system.add("live", "every 1h", "slow", "--args", '{"seconds": 6}')
    system.add("tide", "every 3s")
    good(system, "jobs", "run", "live")
    system.wait(lambda: system.ran("live", "began"), "a live run")
    system.wait(lambda: system.ran("tide"), "a run of the tide")
    good(system, "stop")
    count = len(system.ran("tide"))
    last = datetime.fromisoformat(system.ran("tide")[-1][2])
    assert not set(system.held()) - {"live", "tide"}, "the ladder is cancelled"

    done = system.cli("jobs", "run", "tide")
    assert done.returncode == 1
    assert "stopped" in done.stderr
    url = f"{system.callback_url}/api/cron/jobs/tide/run"
    refused = system.outbound.request("POST", url, headers={"Content-Type": "application/json"}, body=b"{}", deadline=5)
    assert refused.status == 409
    assert json.loads(refused.body)["error"]["code"] == "job_state"
    due = job(system, "tide").next_fire_at
    system.wait(lambda: utc_now() > due, "the next instant of the tide")
    # NAS sends it, too. Acceptance looks at no store, so both are answered with 202, and then with a cancel.
    assert system.fire("tide", due).status == 202
    system.wait(lambda: f"the fire of tide {due} is refused: stopped" in system.log("worker0"), "the refusal")
    system.wait(lambda: "tide" not in system.held(), "the cancel at NAS")
    system.wait(lambda: system.ran("live", "ended"), "the live run goes on to its end")
    system.wait(lambda: system.load()["load"] == 0, "a stopped system may sleep")

    good(system, "start")
    # That of the tide is spent every three seconds, and stands again a moment later.
    system.wait(lambda: set(system.armed()) == {"live", "tide"}, "both arms")
    skipped = [entry for entry in system.store.fires("tide", limit=100) if entry.reason == "stopped"]
    assert skipped
    assert all(entry.state is FireState.SKIPPED and entry.fire_at > last for entry in skipped)
    system.wait(lambda: len(system.ran("tide")) > count, "it fires again")
    first = min(row[2] for row in system.ran("tide")[count:])
    assert datetime.fromisoformat(first) > max(entry.last_at or entry.fire_at for entry in skipped)
    good(system, "runs", "audit")


# -- NAS refuses for good ----------------------------------------------------------------------------------------


@pytest.mark.timeout(240)
def test_i11_what_nas_refuses_for_good_stays_wanted_keeps_the_process_awake_and_is_named(make_system: Make) -> None:
    system = make_system("memory://")
    system.start_nas()
    system.add("tide", "every 5s")
    assert "tide" in system.armed()
    # While nobody is awake: from now on NAS wakes nobody, whatever it had confirmed.
    good(system, "nas", "agents", "revoke", "it", "--home", str(system.home / "nas"))
    serve = system.start_serve("--exit-when-idle", "1")
    system.wait(lambda: len(system.ran("tide")) >= 2, "the sweep runs what NAS does not wake", 60)
    assert serve.poll() is None
    load = system.load()
    assert load["wanted_arms"] > 0
    assert load["refused"] == ["invalid_client"]
    found = system.cli("doctor")
    assert found.returncode == 1
    assert "invalid_client" in found.stdout
    assert "invalid_client" in system.cli("arms", "list", "--json").stdout
