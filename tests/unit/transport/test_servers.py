"""Redis and RabbitMQ servers of our own, killed, frozen, emptied and started again under producers and consumers."""

from __future__ import annotations

import logging
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hermes_cron.errors import BrokerError
from hermes_cron.fire import Fire
from tests.chaos.servers import Rabbit, Redis, Server
from tests.conformance.brokers import Ground, until
from tests.unit.parts import ends_within

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]
PATIENCE_S = 60.0


@dataclass
class Place:
    """One server, and a new queue on it."""

    server: Server
    ground: Ground


@pytest.fixture(scope="module")
def queue() -> str:
    """One queue for all: RabbitMQ 3.10 forgets who leads a quorum queue that is younger than five seconds at a kill."""
    return Ground("").queue


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis: there is no redis-server to start")
    server = Redis(tmp_path_factory.mktemp("redis"), durable=True)
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory, queue: str) -> Iterator[Rabbit]:
    if not list(Path("/usr/lib/rabbitmq/lib").glob("*/sbin/rabbitmq-server")):
        pytest.skip("rabbitmq: there is no rabbitmq-server to start")
    server = Rabbit(tmp_path_factory.mktemp("rabbit"))
    server.start()
    Ground(amqp(server), queue).open(60.0).enqueue(Fire("first"))
    time.sleep(12)
    yield server
    server.close()


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.redis),
                        pytest.param("rabbit", marks=pytest.mark.rabbitmq)])  # fmt: skip
def place(request: pytest.FixtureRequest, queue: str) -> Iterator[Place]:
    server: Server = request.getfixturevalue(request.param)
    url = f"redis://127.0.0.1:{server.port}/0" if request.param == "redis" else amqp(server)
    new = Place(server, Ground(url, queue))
    yield new
    server.signal(signal.SIGCONT)
    for broker in new.ground.opened:
        broker.close()


def amqp(server: Server) -> str:
    return f"amqp://guest:guest@127.0.0.1:{server.port}//"


def ids(first: int, number: int) -> list[str]:
    return [f"job-{n}" for n in range(first, first + number)]


def test_what_was_confirmed_survives_a_kill_of_the_server(place: Place) -> None:
    broker = place.ground.open(60.0)
    for job_id in ids(0, 50):
        broker.enqueue(Fire(job_id))
    place.server.kill()
    place.server.start()
    with place.ground.consuming(slots=100) as taken:
        until(lambda: set(ids(0, 50)) <= set(taken.ids), PATIENCE_S)


def test_producers_and_consumers_go_on_after_a_kill_of_the_server(place: Place) -> None:
    broker = place.ground.open()
    with place.ground.consuming() as taken:
        broker.enqueue(Fire("before"))
        taken.wait(1, PATIENCE_S)
        place.server.kill()
        with pytest.raises(BrokerError):
            broker.enqueue(Fire("meanwhile"))
        assert broker.depth() is None, "what cannot be read is busy"
        place.server.start()
        until(lambda: enqueued(place, "after"), PATIENCE_S)
        until(lambda: "after" in taken.ids, PATIENCE_S)


def test_a_frozen_server_delays_nobody_beyond_the_deadline_and_all_go_on_when_it_thaws(place: Place) -> None:
    broker = place.ground.open(2.0)
    with place.ground.consuming() as taken:
        until(lambda: enqueued(place, "before"), PATIENCE_S)
        taken.wait(1, PATIENCE_S)
        assert broker.depth() is not None
        place.server.signal(signal.SIGSTOP)
        errors: list[BrokerError] = []

        def meanwhile() -> None:
            with pytest.raises(BrokerError) as caught:
                broker.enqueue(Fire("meanwhile"))
            errors.append(caught.value)

        for _ in range(3):
            # Two deadlines, one after another, would be four seconds.
            assert ends_within(3.5, meanwhile)
        assert broker.depth() is None
        place.server.signal(signal.SIGCONT)
        until(lambda: enqueued(place, "after"), PATIENCE_S)
        until(lambda: "after" in taken.ids, PATIENCE_S)


def test_consuming_stops_soon_while_the_server_is_frozen(place: Place) -> None:
    with place.ground.consuming() as taken:
        place.ground.open().enqueue(Fire("before"))
        taken.wait(1, PATIENCE_S)
        place.server.signal(signal.SIGSTOP)
    # The end of the block has waited for the end of `consume`.


def test_an_idle_consumer_keeps_its_line(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    # Longer than the socket timeout that redis-py has by itself (5 s), and than a heartbeat of AMQP (10 s).
    idle = 6.5 if isinstance(place.server, Redis) else 12.0
    with caplog.at_level(logging.DEBUG, "hermes_cron.transport"), place.ground.consuming() as taken:
        place.ground.open().enqueue(Fire("before-the-pause"))
        until(lambda: "before-the-pause" in taken.ids, PATIENCE_S)
        time.sleep(idle)
        began = time.monotonic()
        place.ground.open().enqueue(Fire("after-the-pause"))
        until(lambda: "after-the-pause" in taken.ids, PATIENCE_S)
        assert time.monotonic() - began < 4
    assert "was lost" not in caplog.text


@pytest.mark.redis
def test_a_flush_takes_what_was_queued_and_nothing_that_comes_after(redis: Redis) -> None:
    ground = Ground(f"redis://127.0.0.1:{redis.port}/0")
    broker = ground.open()
    with ground.consuming(acks=False, slots=2, fills=True) as taken:
        broker.enqueue(Fire("held"))
        taken.wait(1, PATIENCE_S)
        redis.flush()
        # No exchange has a binding to lose: the next fire arrives, though nobody declared anything anew.
        broker.enqueue(Fire("after"))
        taken.wait(2, PATIENCE_S)
        for delivery in taken.deliveries:
            delivery.ack()
        until(lambda: broker.depth() == 0)
    broker.close()


def enqueued(place: Place, job_id: str) -> bool:
    try:
        place.ground.open().enqueue(Fire(job_id))
    except BrokerError:
        return False
    return True
