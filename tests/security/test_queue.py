"""A neighbour who can write to the queue: what the processes as shipped make of it."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import kombu
import pytest
import redis

from hermes_cron.clock import instant_text, utc_now
from hermes_cron.fire import Fire
from hermes_cron.transport.message import encode
from tests.chaos.servers import free_port
from tests.conformance.test_broker import Canary
from tests.integration.system import System

pytestmark = [pytest.mark.processes, pytest.mark.redis, pytest.mark.timeout(240)]
Make = Callable[..., System]

WORKER = (
    "resetchannels ~hermes-cron ~hermes-cron.* -@all +ping +hello +select +info +client|setname +multi +exec +watch "
    "+unwatch +brpop +lpush +rpush +llen +ltrim +hset +hget +hdel +hlen +zadd +zrem +zrange +zrevrangebyscore +set "
    "+get +del +evalsha +script|load"
)
WEB = (
    "resetchannels ~hermes-cron ~hermes-cron.unacked %R~hermes-cron.rejected -@all +ping +hello +select +info "
    "+client|setname +multi +exec +lpush +llen +hlen"
)


def put(system: System, body: bytes, content_type: str = "application/json") -> None:
    """Publish this as anybody could who can reach the server."""
    with kombu.Connection(system.broker_url) as connection:
        connection.Producer().publish(
            body, exchange="", routing_key=system.queue, content_type=content_type, content_encoding="utf-8"
        )


def forged(job_id: str, fire_at: object = None, kind: str = "fire", **more: object) -> bytes:
    """A message of the right shape."""
    now = instant_text(utc_now())
    return json.dumps({"v": 1, "job_id": job_id, "fire_at": fire_at, "kind": kind, "received_at": now, **more}).encode()


def test_i13_i17_a_forged_message_runs_nothing_that_is_not_due(
    make_system: Make, redis_url: str, tmp_path: Path
) -> None:
    system = make_system(redis_url, provider="")
    system.add("future", "every 1h")
    system.add("paused", "every 1h")
    assert system.cli("jobs", "pause", "paused").returncode == 0
    before = {record.job.id: record.job.next_fire_at for record in system.store.jobs() if record.job is not None}
    due, canary = before["future"], tmp_path / "canary"
    assert due is not None
    hour = timedelta(hours=1)
    for kind in ("fire", "sweep", "manual"):
        put(system, forged("unknown", instant_text(due), kind))
        put(system, forged("paused", instant_text(due), kind))
        put(system, forged("future", instant_text(due), kind))
        put(system, forged("future", instant_text(due - 3 * hour), kind))
        put(system, forged("future", None, kind, task="shell", args={"argv": ["touch", str(canary)]}))
        put(system, forged("future:manual:0b0c", None, kind))
    for body in (b"{}", b"[]", b"null", b"\xff", b'{"v": 2}', forged("../x"), forged("a", "soon"), b"[" * 9_000):
        put(system, body)
    for content_type in ("application/json", "application/x-python-serialize", "application/data"):
        put(system, pickle.dumps(Canary(canary)), content_type)
    put(system, b"!!python/object/apply:os.system [touch /]", "application/x-yaml")
    system.start_worker()
    with redis.Redis.from_url(redis_url, socket_timeout=2) as client:
        left = [system.queue, f"{system.queue}.unacked"]
        system.wait(lambda: not client.exists(*left), "the worker to have looked at them all")
        assert client.llen(f"{system.queue}.rejected") == 12
    assert system.store.runs() == []
    assert system.ran("future") == []
    assert before == {
        record.job.id: record.job.next_fire_at for record in system.store.jobs() if record.job is not None
    }
    assert not canary.exists()
    # The worker lives, and a real one-shot runs once, however often somebody else names it.
    system.add("soon", "in 3s")
    instant = system.store.read("soon").job.next_fire_at  # type: ignore[union-attr]  # it was added just now.
    for _ in range(20):
        put(system, forged("soon", instant_text(instant)))
    system.wait(lambda: system.ran("soon"), "the run")
    system.wait(lambda: [run for run in system.store.runs("soon") if not run.open], "its end")
    assert len(system.ran("soon")) == 1
    assert system.ran("soon")[0][2] == instant.isoformat()


def test_with_a_signing_key_only_our_own_messages_are_looked_at(
    make_system: Make, redis_url: str, tmp_path: Path
) -> None:
    key = tmp_path / "signing-key"
    key.touch(0o600)
    key.write_text("k" * 40)
    system = make_system(redis_url, provider="", env={"HERMES_CRON_BROKER__SIGNING_KEY_FILE": str(key)})
    system.start_worker()
    put(system, encode(Fire("soon", utc_now(), received_at=utc_now())))
    system.wait(lambda: "rejected (1 so far): the message is not signed" in system.log("worker0"), "the refusal")
    system.add("soon", "in 2s")
    system.wait(lambda: system.ran("soon"), "the run, by a message of our own")
    assert "rejected (2" not in system.log("worker0")
    key.chmod(0o666)
    done = system.cli("worker")
    assert done.returncode == 78
    assert str(key) in done.stderr


@contextlib.contextmanager
def redis_server(folder: Path, *users: str) -> Iterator[str]:
    """A Redis of our own with these users; where it is, as host:port."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis: there is no redis-server to start")
    port = free_port()
    lines = [f"port {port}", "bind 127.0.0.1", 'save ""', f"dir {folder}", "requirepass admin", *users]
    (folder / "redis.conf").write_text("\n".join(lines) + "\n")
    process = subprocess.Popen([program, str(folder / "redis.conf")], stdout=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_the_least_redis_users_of_the_docs_are_enough(make_system: Make, tmp_path: Path) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    assert f"user worker on >PASSWORD {WORKER}" in docs
    assert f"user web on >PASSWORD {WEB}" in docs
    users = [f"user worker on >secret {WORKER}", f"user web on >secret {WEB}"]
    with redis_server(tmp_path, *users) as place:
        system = make_system(f"redis://worker:secret@{place}/0")
        system.queue = "hermes-cron"
        system.start_nas()
        system.start_worker()
        system.env["HERMES_CRON_BROKER__URL"] = f"redis://web:secret@{place}/0"
        system.start_web()
        system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")
        system.add("tide", "every 2s")
        system.wait(lambda: len(system.ran("tide")) >= 3, "three runs")
        put_as_admin = redis.Redis.from_url(f"redis://:admin@{place}/0", socket_timeout=2)
        put_as_admin.lpush("hermes-cron", "junk")
        system.wait(lambda: put_as_admin.llen("hermes-cron.rejected") == 1, "the junk to be set aside")
        # kombu gives back what the dead held every few seconds; that is allowed, too.
        denied = [(entry["reason"], entry["object"], entry["username"]) for entry in put_as_admin.acl_log()]
        assert denied == []
        put_as_admin.close()
        neighbour = redis.Redis.from_url(f"redis://web:secret@{place}/0", socket_timeout=2)
        for command in (("GET", "other"), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("EVAL", "return 1", "0"),
                        ("RPOP", "hermes-cron"), ("FLUSHALL",)):  # fmt: skip
            with pytest.raises(redis.exceptions.NoPermissionError):
                neighbour.execute_command(*command)
        neighbour.close()
        system.broker_url = "memory://"
