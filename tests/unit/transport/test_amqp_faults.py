"""AMQP when it is away, frozen, cut off, or lost its queue."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import kombu
import pytest

from hermes_cron.errors import BrokerError
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Broker
from hermes_cron.transport import open_broker
from tests.conformance.brokers import Ground, until
from tests.unit.parts import ends_within
from tests.unit.transport.conftest import Relay

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def direct(amqp_url: str) -> Iterator[Ground]:
    """A queue, reached directly."""
    new = Ground(amqp_url)
    yield new
    new.clean()


@pytest.fixture
def relayed(direct: Ground, relay: Relay) -> Ground:
    """The same queue, reached through the relay."""
    parts = urlsplit(direct.url)
    credentials = parts.netloc.rpartition("@")[0]
    return Ground(urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{relay.port}")), direct.queue)


def test_a_port_where_nobody_listens_is_an_error_at_once() -> None:
    broker = open_broker("amqp://guest:canary@127.0.0.1:1//", "q", deadline=60)
    began = time.monotonic()
    with pytest.raises(BrokerError) as caught:
        broker.enqueue(Fire("backup"))
    assert time.monotonic() - began < 20
    assert "amqp://guest:***@127.0.0.1:1//" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert broker.depth() is None


def test_a_wrong_password_is_an_error_that_does_not_show_it(direct: Ground) -> None:
    parts = urlsplit(direct.url)
    host = parts.netloc.rpartition("@")[2]
    broker = open_broker(urlunsplit(parts._replace(netloc=f"guest:canary@{host}")), direct.queue)
    with pytest.raises(BrokerError) as caught:
        broker.enqueue(Fire("backup"))
    assert "canary" not in str(caught.value)


def test_a_frozen_server_is_an_error_at_the_deadline_with_and_without_a_connection(
    relayed: Ground, relay: Relay
) -> None:
    warm = relayed.open(2.0)
    until(lambda: enqueued(warm, "first"))
    relay.hold()
    for broker in (relayed.open(2.0), warm, warm):
        assert ends_within(3.5, lambda broker=broker: enqueued(broker, "second") and pytest.fail("it was confirmed"))
    assert warm.depth() is None
    relay.flow()
    until(lambda: enqueued(warm, "third"))


def enqueued(broker: Broker, job_id: str) -> bool:
    try:
        broker.enqueue(Fire(job_id))
    except BrokerError:
        return False
    return True


def test_a_connection_that_broke_meanwhile_is_replaced_without_an_error(relayed: Ground, relay: Relay) -> None:
    broker = relayed.open()
    broker.enqueue(Fire("first"))
    relay.cut()
    broker.enqueue(Fire("second"))
    until(lambda: broker.depth() == 2)


def test_consuming_survives_a_connection_that_is_cut(relayed: Ground, relay: Relay, direct: Ground) -> None:
    broker = direct.open()
    with relayed.consuming(acks=False) as taken:
        broker.enqueue(Fire("held"))
        taken.wait(1)
        relay.cut()
        # The server gives it out once more, for it was not acknowledged; the first ack is of no use any more.
        taken.wait(2)
        for delivery in taken.deliveries:
            delivery.ack()
        broker.enqueue(Fire("after"))
        taken.wait(3)
    assert taken.ids == ["held", "held", "after"]


def test_consume_stops_soon_when_the_server_is_frozen(relayed: Ground, relay: Relay, direct: Ground) -> None:
    broker = direct.open()
    with relayed.consuming(acks=False) as taken:
        broker.enqueue(Fire("held"))
        taken.wait(1)
        relay.hold()
        began = time.monotonic()
    assert time.monotonic() - began < 40
    relay.cut()


def test_a_queue_that_was_deleted_is_made_again(direct: Ground) -> None:
    broker = direct.open()
    broker.enqueue(Fire("first"))
    with kombu.Connection(direct.url) as connection:
        connection.default_channel.queue_delete(direct.queue)
    broker.enqueue(Fire("second"))
    until(lambda: broker.depth() == 1)


def test_a_queue_of_another_make_is_an_error_that_names_it(direct: Ground) -> None:
    with kombu.Connection(direct.url) as connection:
        connection.default_channel.queue_declare(direct.queue, durable=True, auto_delete=False)
    with pytest.raises(BrokerError, match="exists already") as caught:
        direct.open().enqueue(Fire("first"))
    assert caught.value.field == "broker.queue"


def test_consuming_survives_the_loss_of_its_queue(direct: Ground, caplog: pytest.LogCaptureFixture) -> None:
    broker = direct.open()
    broker.enqueue(Fire("first"))
    with direct.consuming(broker) as taken:
        taken.wait(1)
        with kombu.Connection(direct.url) as connection:
            connection.default_channel.queue_delete(direct.queue)
        # RabbitMQ 3.10 tells its consumers nothing of a queue that is made again in the same moment.
        until(lambda: "was lost" in caplog.text)
        broker.enqueue(Fire("second"))
        taken.wait(2)


def test_what_is_rejected_is_kept_whole_in_its_own_queue(direct: Ground) -> None:
    broker = direct.open()
    assert broker.depth() == 0
    with direct.consuming() as taken:
        direct.put(b'{"v": 2}')
        broker.enqueue(Fire("good"))
        taken.wait(1)
    with kombu.Connection(direct.url) as connection:
        kept: list[object] = []
        until(lambda: kept.append(connection.default_channel.basic_get(f"{direct.queue}.rejected")) or kept[-1])
    assert bytes(kept[-1].body, "utf-8") == b'{"v": 2}'


@pytest.mark.processes
def test_parent_and_children_of_a_fork_all_enqueue(direct: Ground, caplog: pytest.LogCaptureFixture) -> None:
    broker = direct.open(10.0)
    broker.enqueue(Fire("before"))
    with caplog.at_level(logging.CRITICAL):
        pids = []
        for child in range(3):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    for number in range(20):
                        broker.enqueue(Fire(f"child-{child}-{number}"))
                    status = 0
                finally:
                    os._exit(status)
            pids.append(pid)
        for number in range(20):
            broker.enqueue(Fire(f"parent-{number}"))
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    until(lambda: broker.depth() == 81)
