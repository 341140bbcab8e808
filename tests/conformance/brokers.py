"""The brokers that the conformance suite is run against, each test with a queue of its own."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import kombu
import pytest

from hermes_cron.interfaces import Broker, Delivery
from hermes_cron.transport import open_broker

REDIS = os.environ.get("HERMES_CRON_TEST_REDIS", "redis://127.0.0.1:6379/0")
AMQP = os.environ.get("HERMES_CRON_TEST_AMQP", "amqp://guest:guest@127.0.0.1:5672//")
PATIENCE_S = 60.0
"""As long as a test waits for what has to come: far longer than a busy machine takes."""

CONSUMER_S = 2.0
"""The deadline of a consumer by default: one that cannot reach its server tries anew before a test loses patience."""


def until(condition: Callable[[], Any], seconds: float = PATIENCE_S) -> None:
    """Look again and again until something is so; for what no test can be told of."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        threading.Event().wait(0.01)


@dataclass
class Taken:
    """What one consumer was handed."""

    acks: bool = True
    slots: int = 4
    fills: bool = False
    fault: type[Exception] | None = None
    deliveries: list[Delivery] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    over: threading.Event = field(default_factory=threading.Event)

    def handle(self, delivery: Delivery) -> None:
        """What the broker calls."""
        with self.changed:
            self.deliveries.append(delivery)
            self.slots -= self.fills
            self.changed.notify_all()
        if self.fault is not None:
            raise self.fault("the handler is broken")
        if self.acks:
            delivery.ack()

    @property
    def ids(self) -> list[str]:
        """The jobs of what came."""
        return [delivery.fire.job_id for delivery in self.deliveries]

    def wait(self, number: int, seconds: float = PATIENCE_S) -> None:
        """Wait until so many deliveries have come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.deliveries) >= number, seconds), self.ids


@dataclass
class Ground:
    """One queue: open brokers on it, put anything into it, and look at it."""

    url: str
    queue: str = field(default_factory=lambda: f"hc-test-{uuid.uuid4().hex}")
    opened: list[Broker] = field(default_factory=list)
    imitated: bool = False
    signing_key_file: str = ""

    def open(self, deadline: float = 20.0) -> Broker:
        """A broker on this queue; what must fail in time is given a deadline of its own."""
        self.opened.append(open_broker(self.url, self.queue, deadline=deadline, signing_key_file=self.signing_key_file))
        return self.opened[-1]

    @contextmanager
    def consuming(self, broker: Broker | None = None, **options: Any) -> Iterator[Taken]:
        """Consume in a thread; at the end, stop and wait for it."""
        taken = Taken(**options)
        used = broker or self.open(CONSUMER_S)
        arguments = (taken.handle, lambda: taken.slots, taken.over.is_set)
        thread = threading.Thread(target=used.consume, args=arguments, daemon=True)
        thread.start()
        try:
            yield taken
        finally:
            taken.over.set()
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "consume did not stop"

    def put(self, body: bytes, content_type: str = "application/json", **headers: str) -> None:
        """Publish anything, as anybody could who can reach the server."""
        with kombu.Connection(self.url) as connection:
            connection.Producer().publish(
                body, exchange="", routing_key=self.queue, content_type=content_type,
                content_encoding="utf-8", headers=headers,
            )  # fmt: skip

    def clean(self) -> None:
        """Close what was opened, and leave nothing of the queue."""
        for broker in self.opened:
            broker.close()
        if self.url.startswith("redis"):
            with kombu.Connection(self.url) as connection:
                client = connection.default_channel.client
                client.delete(self.queue, *client.keys(f"{self.queue}.*"))
        elif self.url.startswith("amqp"):
            with kombu.Connection(self.url) as connection:
                for name in (self.queue, f"{self.queue}.rejected"):
                    connection.default_channel.queue_delete(name)


def answers(url: str) -> bool:
    """Whether the server behind a URL can be used."""
    try:
        kombu.Connection(
            url, connect_timeout=10, transport_options={"socket_connect_timeout": 10}
        ).transport.establish_connection()
    except Exception:
        return False
    return True


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The real Redis server, or else an imitation that speaks its protocol."""
    if answers(REDIS):
        yield REDIS
        return
    fakeredis = pytest.importorskip("fakeredis", reason="redis: no server answers, and fakeredis is not installed")
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"redis://127.0.0.1:{server.server_address[1]}/0"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def amqp_url() -> str:
    """The RabbitMQ server."""
    if not answers(AMQP):
        pytest.skip("rabbitmq: no server answers")
    return AMQP


@pytest.fixture(params=["memory", "redis", pytest.param("amqp", marks=pytest.mark.rabbitmq)])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    """A new queue."""
    url = "memory://" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")
    new = Ground(url, imitated=request.param == "redis" and url != REDIS)
    yield new
    new.clean()
