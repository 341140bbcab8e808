"""The circle as processes over real sockets: NAS fires, webs accept, workers claim, arm, run, arm again."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from hermes_cron.clock import utc_now
from hermes_cron.ledger import OPEN, FireState
from hermes_cron.server import listen, url_of
from tests.integration.system import System, kill_group

pytestmark = [pytest.mark.processes, pytest.mark.redis]
Make = Callable[..., System]


@pytest.mark.timeout(240)
def test_i12_i13_a_job_every_2_s_runs_once_per_fire_for_a_minute(make_system: Make, redis_url: str) -> None:
    system = make_system(redis_url)
    system.start_nas()
    second = listen("127.0.0.1:0")
    system.start_web(0)
    system.start_web(1, second)
    system.start_worker(0)
    system.start_worker(1)
    system.add("tide", "every 2s")
    system.wait(lambda: len(system.ran("tide")) >= 30, "thirty runs", 90)
    assert system.cli("jobs", "pause", "tide").returncode == 0
    system.wait(lambda: system.load()["load"] == 0, "nothing is left to do")
    ran = Counter(row[2] for row in system.ran("tide"))
    assert set(ran.values()) == {1}, "a fire ran twice"
    fires = system.store.fires("tide", limit=1000)
    assert not [fire for fire in fires if fire.state in OPEN]
    step = timedelta(seconds=2)
    instants = sorted(fire.fire_at + step * number for fire in fires for number in range(fire.count))
    gaps = {later - earlier for earlier, later in itertools.pairwise(instants)}
    assert gaps == {step}, "a fire has no outcome"
    succeeded = {fire.fire_at.isoformat() for fire in fires if fire.state is FireState.SUCCEEDED}
    assert succeeded == set(ran)
    assert system.armed() == {}
    second.close()


@pytest.mark.timeout(240)
def test_i5_i13_20_identical_fires_at_once_are_20_answers_202_and_one_run(make_system: Make, redis_url: str) -> None:
    system = make_system(redis_url)
    system.start_nas()
    second = listen("127.0.0.1:0")
    system.start_web(0)
    system.start_web(1, second)
    system.start_worker(0)
    system.start_worker(1)
    urls = (system.callback_url, url_of(second))
    for url in urls:
        system.wait(lambda url=url: system.answers(f"{url}/healthz"), "the web answers")
    system.add("once", "in 4s")
    due = system.store.read("once").job.next_fire_at
    assert due is not None
    answers: list[int] = []
    barrier = threading.Barrier(20)

    def fire(number: int) -> None:
        barrier.wait()
        answers.append(system.fire("once", due, urls[number % 2]).status)

    def storm() -> None:
        threads = [threading.Thread(target=fire, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    storm()
    assert answers == [202] * 20
    system.wait(lambda: system.ran("once"), "the run")
    ended = system.wait(lambda: [run for run in system.store.runs("once") if not run.open], "the run's end")[0].ended_at
    system.wait(lambda: utc_now() > ended + timedelta(seconds=10), "ten seconds after its end")
    answers.clear()
    storm()
    assert answers == [202] * 20
    system.wait(lambda: system.load()["queued"] == 0, "the workers to have looked at them all")
    assert len(system.ran("once")) == 1
    assert len(system.store.runs("once")) == 1
    second.close()


@pytest.mark.timeout(240)
def test_i13_a_one_shot_moved_to_a_later_hour_is_not_run_by_the_fire_of_the_earlier(
    make_system: Make, redis_url: str
) -> None:
    system = make_system(redis_url)
    system.start_nas()
    system.start_web()
    system.start_worker()
    soon = (utc_now() + timedelta(seconds=10)).replace(microsecond=0)
    late = soon + timedelta(hours=9)
    system.add("moved", soon.isoformat())
    done = system.cli("jobs", "edit", "moved", "--schedule", late.isoformat())
    assert done.returncode == 0, done.stderr
    system.wait(lambda: utc_now() > soon, "the earlier hour")
    assert system.fire("moved", soon).status == 202
    system.wait(lambda: f"the fire of moved {soon} is refused" in system.log("worker0"), "the refusal")
    assert system.ran("moved") == []
    # A fire that is refused leaves the job armed anew.
    system.wait(lambda: system.armed().get("moved") == late, "the arm of the later hour")
    # NAS has it a moment before its answer is written down.
    system.wait(lambda: not system.store.read("moved").arm.wanted, "its confirmation")


@pytest.mark.timeout(240)
def test_i11_kill_9_of_the_only_worker_leaves_the_next_arm_standing(make_system: Make, redis_url: str) -> None:
    system = make_system(redis_url)
    system.start_nas()
    system.start_web()
    worker = system.start_worker()
    system.add("long", "every 20s", "slow", "--args", '{"seconds": 10}')
    row = system.wait(lambda: system.ran("long", "began"), "the run to begin")[0]
    time.sleep(1)
    kill_group(worker)
    next_fire = datetime.fromisoformat(row[2]) + timedelta(seconds=20)
    assert system.armed() == {"long": next_fire}
    assert not system.ran("long", "ended")


@pytest.mark.timeout(240)
def test_i11_with_nas_away_the_run_goes_on_and_the_arm_appears_when_it_is_back(
    make_system: Make, redis_url: str
) -> None:
    system = make_system(redis_url)
    nas = system.start_nas()
    system.start_web()
    system.start_worker()
    system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")
    system.add("tide", "every 1h", "slow", "--args", '{"seconds": 1}')
    first = system.armed()["tide"]
    # NAS fires a manual run, is stopped, and the worker has to arm the hour again.
    kill_group(nas)
    done = system.cli("jobs", "run", "tide")
    assert done.returncode == 75
    system.wait(lambda: system.ran("tide", "ended"), "the run goes on without NAS")
    assert system.load()["load"] > 0
    assert system.load()["wanted_arms"] > 0
    diff = system.cli("arms", "diff")
    assert diff.returncode != 0
    assert "tide" in diff.stdout
    system.start_nas()
    system.wait(lambda: system.armed() == {"tide": first}, "the arm, with no other event")
    system.wait(lambda: system.load()["load"] == 0, "nothing to stay awake for")
