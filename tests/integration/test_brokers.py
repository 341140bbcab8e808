"""Queues below a whole system: fires through forked web processes, and a queue that is emptied in flight."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import kombu
import pytest

from hermes_cron.clock import utc_now
from hermes_cron.ledger import FireState
from hermes_cron.transport import open_broker
from hermes_cron.worker import SWEEP_S
from tests.chaos.servers import Redis
from tests.conformance.brokers import amqp_url  # noqa: F401 - a fixture, found here by name.
from tests.integration.system import System, children

pytestmark = pytest.mark.processes
Make = Callable[..., System]
FIRES = 60
WEBS = 3


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.redis),
                        pytest.param("amqp", marks=pytest.mark.rabbitmq)])  # fmt: skip
def preloaded(request: pytest.FixtureRequest, make_system: Make) -> Iterator[System]:
    """Web processes that gunicorn forks from a master which has imported the application already."""
    system = make_system(request.getfixturevalue(f"{request.param}_url"))
    system.start_nas()
    fd = system.web_socket.fileno()
    command = ["--preload", "--workers", str(WEBS), "--threads", "4", "--bind", f"fd://{fd}", "--no-control-socket"]
    with (system.home / "gunicorn.log").open("ab") as out:
        gunicorn = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *command, "hermes_cron.wsgi:application"], stdout=out, stderr=out,
            env=system.environment, pass_fds=(fd,), start_new_session=True,
        )  # fmt: skip
    system.processes.append(gunicorn)
    system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")
    yield system
    if system.broker_url.startswith("amqp"):
        with kombu.Connection(system.broker_url) as connection:
            for name in (system.queue, f"{system.queue}.rejected"):
                connection.default_channel.queue_delete(name)


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis that may be emptied; it outlives the systems that use it."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis: there is no redis-server to start")
    server = Redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


@pytest.mark.timeout(240)
def test_every_fire_is_queued_once_by_processes_that_were_forked_after_the_import(preloaded: System) -> None:
    system, due = preloaded, utc_now()

    def fire(number: int) -> int:
        return system.fire(f"job-{number}", due).status

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(fire, range(FIRES))) == {202}
        # One that is forked later inherits what the master has by then.
        master = system.processes[-1].pid
        system.wait(lambda: len(children(master)) == WEBS, "every process, of which the first was ready at once")
        old = set(children(master))
        os.kill(next(iter(old)), signal.SIGKILL)
        system.wait(lambda: len(set(children(master)) - old) == 1, "a new process")
        answered = list(threads.map(fire, range(FIRES, 2 * FIRES)))
    assert set(answered) == {202}

    seen: list[str] = []
    over = threading.Event()
    broker = open_broker(system.broker_url, system.queue)
    consumer = threading.Thread(
        target=broker.consume,
        args=(lambda delivery: (seen.append(delivery.fire.job_id), delivery.ack()), lambda: 8, over.is_set),
    )
    consumer.start()
    system.wait(lambda: len(set(seen)) == 2 * FIRES, "all of them")
    over.set()
    consumer.join()
    broker.close()
    assert set(Counter(seen).values()) == {1}


@pytest.mark.redis
@pytest.mark.timeout(240)
def test_i16_a_queue_that_is_emptied_between_202_and_the_claim_costs_one_sweep(
    own_redis: Redis, make_system: Make
) -> None:
    system = make_system(f"redis://127.0.0.1:{own_redis.port}/0")
    system.start_nas()
    system.start_web()
    worker = system.start_worker()
    system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")
    system.add("once", "in 3s")
    due = system.store.read("once").job.next_fire_at
    os.killpg(worker.pid, signal.SIGSTOP)
    broker = open_broker(system.broker_url, system.queue)
    system.wait(lambda: utc_now() > due + timedelta(seconds=1), "the instant")
    assert system.fire("once", due).status == 202
    assert broker.depth()
    own_redis.flush()
    assert broker.depth() == 0
    os.killpg(worker.pid, signal.SIGCONT)
    system.wait(lambda: system.ran("once"), "the sweep finds it", SWEEP_S + 10)
    system.wait(lambda: system.store.fires("once")[0].state is FireState.SUCCEEDED, "its outcome")
    # And the queue works again, without anything having been declared anew.
    system.add("tide", "every 2s")
    system.wait(lambda: len(system.ran("tide")) >= 2, "fires by the queue")
    broker.close()
