"""Redis when it is away, frozen, full, restarted, or misused."""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hermes_cron.errors import BrokerError
from hermes_cron.fire import Fire
from hermes_cron.transport.message import encode
from tests.chaos.servers import free_port
from tests.conformance.brokers import Ground, until
from tests.unit.parts import ends_within
from tests.unit.transport.conftest import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.processes]


def refused(ground: Ground, deadline: float = 60.0, within: float = 20.0) -> BrokerError:
    """The error that a fire met in time: at once, unless it is told otherwise."""
    errors: list[Exception | None] = []
    assert ends_within(within, lambda: errors.append(failure(ground.open(deadline))))
    assert isinstance(errors[-1], BrokerError)
    assert "canary" not in str(errors[-1])
    return errors[-1]


def test_a_port_where_nobody_listens_is_an_error_at_once() -> None:
    ground = Ground("redis://:canary@127.0.0.1:1/0")
    error = refused(ground)
    assert "redis://:***@127.0.0.1:1/0" in error.message
    assert error.field == "broker.url"
    assert error.hint
    assert ground.open().depth() is None


def test_a_wrong_password_is_an_error_that_does_not_show_it(server: RedisServer) -> None:
    refused(Ground(server.url.replace("canary", "canary2")))


def test_a_server_that_may_drop_fires_is_told_of_once_however_late_it_comes(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    broker = Ground(server.url).open()
    assert isinstance(failure(broker), BrokerError)
    server.start("--maxmemory-policy", "allkeys-lru")
    for _ in range(2):
        until(lambda: failure(broker) is None)
        broker.close()
    told = [record.getMessage() for record in caplog.records if "noeviction" in record.getMessage()]
    assert len(told) == 1
    assert "allkeys-lru" in told[0]
    assert "canary" not in told[0]


def test_a_server_of_a_cluster_is_refused_with_the_way_out(server: RedisServer) -> None:
    server.kill()
    server.start("--cluster-enabled", "yes")
    error = refused(Ground(server.url))
    assert "is a Redis cluster" in error.message


def test_a_frozen_server_is_an_error_at_the_deadline_with_and_without_a_connection(server: RedisServer) -> None:
    ground = Ground(server.url)
    warm = ground.open(2.0)
    until(lambda: failure(warm) is None)
    server.freeze()
    # Two deadlines, one after another, would be four seconds.
    refused(ground, 2.0, within=3.5)
    errors: list[Exception | None] = []
    assert ends_within(3.5, lambda: errors.append(failure(warm)))
    with ThreadPoolExecutor(20) as threads:
        began = time.monotonic()
        errors += threads.map(lambda _: failure(warm), range(20))
    assert all(isinstance(error, BrokerError) for error in errors)
    assert time.monotonic() - began < 20
    assert warm.depth() is None
    server.thaw()
    until(lambda: failure(warm) is None)


def failure(broker: object) -> Exception | None:
    try:
        broker.enqueue(Fire("more"))
    except Exception as error:
        return error
    return None


def test_a_connection_that_broke_meanwhile_is_replaced_without_an_error(server: RedisServer) -> None:
    broker = Ground(server.url).open()
    broker.enqueue(Fire("first"))
    server.kill()
    server.start()
    broker.enqueue(Fire("second"))
    assert broker.depth() == 2


def test_consuming_survives_a_server_that_is_killed_and_started_again(server: RedisServer) -> None:
    ground = Ground(server.url)
    broker = ground.open()
    with ground.consuming() as taken:
        broker.enqueue(Fire("before"))
        taken.wait(1)
        server.kill()
        threading.Event().wait(0.5)
        server.start()
        broker.enqueue(Fire("after"))
        taken.wait(2)
    assert taken.ids == ["before", "after"]


def test_an_ack_reaches_the_server_that_came_back(server: RedisServer) -> None:
    ground = Ground(server.url)
    broker = ground.open()
    with ground.consuming(acks=False) as taken:
        broker.enqueue(Fire("before"))
        taken.wait(1)
        server.kill()
        server.start()
        until(lambda: broker.depth() == 1)
        broker.enqueue(Fire("after"))
        taken.wait(2)
        for delivery in taken.deliveries:
            delivery.ack()
        until(lambda: broker.depth() == 0)


def test_consuming_survives_a_server_that_was_frozen(server: RedisServer) -> None:
    ground = Ground(server.url)
    broker = ground.open()
    with ground.consuming() as taken:
        broker.enqueue(Fire("before"))
        taken.wait(1)
        server.freeze()
        threading.Event().wait(3)
        server.thaw()
        broker.enqueue(Fire("after"))
        taken.wait(2)


def test_consume_stops_soon_while_the_server_is_away(server: RedisServer) -> None:
    ground = Ground(server.url)
    with ground.consuming() as taken:
        ground.open().enqueue(Fire("one"))
        taken.wait(1)
        server.kill()
        threading.Event().wait(1)
        began = time.monotonic()
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "item",
    [
        b"garbage", b"\xff\xfe", b"[]", b"{}", b"1", b"", b"[" * 60_000, b"x" * 10_000_000,
        json.dumps({"body": "*", "properties": {"body_encoding": "base64", "delivery_tag": "t"}}).encode(),
        json.dumps({"body": "eA==", "headers": [], "properties": {"delivery_tag": [1], "delivery_info": {}}}).encode(),
        json.dumps({"__type__": "datetime", "__value__": "canary"}).encode(),
        json.dumps({"__type__": "nothing", "__value__": "canary"}).encode(),
    ],
    ids=["text", "bytes", "list", "object", "number", "empty", "deep", "large", "base64", "tag", "tagged", "unknown"],
)  # fmt: skip
def test_i17_what_kombu_itself_cannot_read_is_kept_aside_once(server: RedisServer, item: bytes) -> None:
    ground = Ground(server.url)
    broker = ground.open()
    with ground.consuming() as taken:
        raw(server, "LPUSH", ground.queue, item)
        broker.enqueue(Fire("good"))
        taken.wait(1)
        until(lambda: broker.depth() == 0)
    assert taken.ids == ["good"]
    (kept,) = raw(server, "LRANGE", f"{ground.queue}.rejected", 0, -1)
    assert item.startswith(base64.b64decode(json.loads(kept)["body"]))


def raw(server: RedisServer, *command: object) -> object:
    return server.ask(*command)


def test_the_rejected_are_kept_with_their_reason_up_to_a_number(server: RedisServer) -> None:
    ground = Ground(server.url)
    key = f"{ground.queue}.rejected"
    raw(server, "RPUSH", key, *(f"old-{number}" for number in range(1000)))
    broker = ground.open()
    with ground.consuming() as taken:
        ground.put(b'{"v": 2}')
        broker.enqueue(Fire("good"))
        taken.wait(1)
        until(lambda: broker.depth() == 0)
    kept = raw(server, "LRANGE", key, 0, -1)
    assert len(kept) == 1000
    newest = json.loads(kept[0])
    assert "version" in newest["reason"]
    assert base64.b64decode(newest["body"]) == b'{"v": 2}'


def test_what_a_dead_consumer_held_is_given_back_when_its_time_is_up(server: RedisServer) -> None:
    ground = Ground(server.url)
    broker = ground.open()
    info = {"exchange": "", "routing_key": ground.queue}
    properties = {"body_encoding": "base64", "delivery_tag": "old", "delivery_info": info}
    body = base64.b64encode(encode(Fire("orphan"))).decode()
    envelope = {"body": body, "content-type": "application/json", "content-encoding": "utf-8", "headers": {}}
    held = json.dumps([{**envelope, "properties": properties}, "", ground.queue])
    raw(server, "HSET", f"{ground.queue}.unacked", "old", held)
    raw(server, "ZADD", f"{ground.queue}.unacked_index", time.time() - 121, "old")
    assert broker.depth() == 1
    with ground.consuming() as taken:
        taken.wait(1)
        until(lambda: broker.depth() == 0)
    assert taken.ids == ["orphan"]


def test_messages_of_others_on_the_same_server_are_left_alone(server: RedisServer) -> None:
    raw(server, "HSET", "unacked", "tag", json.dumps([{}, "", "other"]))
    raw(server, "ZADD", "unacked_index", 1, "tag")
    ground = Ground(server.url)
    with ground.consuming() as taken:
        ground.open().enqueue(Fire("ours"))
        taken.wait(1)
        threading.Event().wait(1.5)
    assert raw(server, "HLEN", "unacked") == 1


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru"])
def test_a_server_that_may_drop_fires_is_warned_of_once(
    server: RedisServer, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    raw(server, "CONFIG", "SET", "maxmemory-policy", policy)
    ground = Ground(server.url)
    for broker in (ground.open(), ground.open()):
        broker.enqueue(Fire("one"))
        broker.enqueue(Fire("two"))
    told = [record for record in caplog.records if "maxmemory-policy" in record.getMessage()]
    assert len(told) == (0 if policy == "noeviction" else 1)
    assert "canary" not in caplog.text


def test_a_cluster_is_refused(server: RedisServer) -> None:
    server.kill()
    for file in server.folder.rglob("*"):
        if file.is_file():
            file.unlink()
    # By default the cluster's own port lies 10,000 higher, which may be none.
    server.start("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    assert "cluster" in refused(Ground(server.url)).message


def test_a_full_server_refuses_fires_and_consuming_goes_on_when_there_is_room(server: RedisServer) -> None:
    ground = Ground(server.url)
    broker = ground.open()
    with ground.consuming() as taken:
        broker.enqueue(Fire("before"))
        taken.wait(1)
        raw(server, "CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(BrokerError):
            broker.enqueue(Fire("refused"))
        raw(server, "CONFIG", "SET", "maxmemory", "0")
        broker.enqueue(Fire("after"))
        taken.wait(2)


def test_parent_and_child_of_a_fork_both_enqueue(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    ground = Ground(server.url)
    broker = ground.open()
    broker.enqueue(Fire("before"))
    with caplog.at_level(logging.CRITICAL):
        pids = []
        for child in range(3):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    for number in range(50):
                        broker.enqueue(Fire(f"child-{child}-{number}"))
                    status = 0
                finally:
                    os._exit(status)
            pids.append(pid)
        for number in range(50):
            broker.enqueue(Fire(f"parent-{number}"))
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    assert broker.depth() == 201
