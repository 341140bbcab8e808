"""What a Redis server of our own can do to us: restart, freeze, be full, be the wrong one, refuse us, speak TLS."""

from __future__ import annotations

import subprocess
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hermes_cron.arm import Arm
from hermes_cron.errors import ConfigError, StoreError
from hermes_cron.job import Job
from hermes_cron.ledger import Entry, FireState
from hermes_cron.record import Moment, Record
from hermes_cron.schedule import Schedule
from hermes_cron.store import open_store
from tests.chaos.servers import free_port
from tests.conformance.brokers import until
from tests.unit.transport.conftest import RedisServer, server  # noqa: F401 - a fixture, found here by name.

pytestmark = pytest.mark.redis

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def one_more(record: Record, moment: Moment) -> tuple[Record, int]:
    """Named instants serve as a tally."""
    named = (*record.arm.named, NOON)
    return replace(record, arm=Arm(named=named)), len(named)


def test_a_question_is_asked_of_indexes(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    def cost() -> list[int]:
        questions = [store.next_wake, store.stopped, lambda: store.load(60), lambda: store.overdue(5),
                     lambda: store.wanted(5), lambda: store.read("j1"), lambda: store.fires(limit=3),
                     lambda: store.runs(limit=3), lambda: store.change("j1", one_more)]  # fmt: skip
        counts = []
        for question in questions:
            question()
            before = commands()
            question()
            counts.append(commands() - before)
        return counts

    def commands() -> int:
        return int(client.info("stats")["total_commands_processed"])

    def fill(first: int, last: int) -> None:
        for n in range(first, last):
            kept = Record(f"j{n}", Job(f"j{n}", "task", Schedule("cron", "0 * * * *")), Arm(wake_at=NOON),
                          entries=(Entry(f"j{n}", "k", NOON, FireState.FAILED),))  # fmt: skip
            store.change(f"j{n}", lambda _, moment, kept=kept: (kept, None))

    with closing(open_store(server.url)) as store, redis.Redis.from_url(server.url) as client:
        fill(0, 10)
        few = cost()
        fill(10, 400)
        assert cost() == few


def test_a_server_that_restarts_keeps_what_is_in_its_append_only_file(server: RedisServer) -> None:  # noqa: F811 - a fixture.
    with closing(open_store(server.url)) as store:
        for _ in range(10):
            store.change("_wake.1", one_more)
        server.kill()
        with pytest.raises(StoreError, match="cannot be reached"):
            store.now()
        server.start()
        assert store.change("_wake.1", one_more) == 11


def test_a_server_that_freezes_is_given_up_in_time(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    with closing(open_store(server.url, deadline=2)) as store:
        assert store.change("_wake.1", one_more) == 1
        server.freeze()
        with pytest.raises(StoreError, match="cannot be reached"):
            store.change("_wake.1", one_more)
        server.thaw()
        assert store.change("_wake.1", one_more) == 2


def test_a_server_that_drops_keys_when_it_is_full_is_refused(server: RedisServer) -> None:  # noqa: F811 - a fixture.
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    server.ask("CONFIG", "SET", "maxmemory", "1gb")
    with closing(open_store(server.url)) as store:
        with pytest.raises(ConfigError, match=r"drops keys when its memory is full.*maxmemory-policy allkeys-lru"):
            store.now()
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        store.now()


def test_a_server_that_is_full_is_told_so_and_still_read(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    with closing(open_store(server.url)) as store:
        store.change("_wake.1", one_more)
        server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StoreError, match="is full: its maxmemory is reached"):
            store.change("_wake.1", one_more)
        assert store.read("_wake.1") == Record("_wake.1", arm=Arm(named=(NOON,)))
        server.ask("CONFIG", "SET", "maxmemory", "0")
        assert store.change("_wake.1", one_more) == 2


def test_a_replica_is_told_from_a_primary(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    with closing(open_store(server.url)) as store:
        store.change("_wake.1", one_more)
        server.ask("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreError, match=r"is a read-only replica.*Name the primary"):
            store.change("_wake.1", one_more)
        server.ask("REPLICAOF", "NO", "ONE")
        assert store.change("_wake.1", one_more) == 2


def pings(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def test_a_cluster_is_refused(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    server.kill()
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    server.process = subprocess.Popen([*server.process.args, *options], stdout=subprocess.DEVNULL)
    until(lambda: pings(server.url))
    with closing(open_store(server.url)) as store, pytest.raises(ConfigError, match="is part of a Redis cluster"):
        store.now()


def test_a_server_without_an_append_only_file_is_warned_of(
    server: RedisServer, caplog: pytest.LogCaptureFixture,  # noqa: F811 - the fixture.
) -> None:  # fmt: skip
    server.ask("CONFIG", "SET", "appendonly", "no")
    with closing(open_store(server.url)) as store:
        store.now()
    assert "has no append-only file (appendonly no)" in caplog.text
    assert "canary" not in caplog.text


def test_a_user_who_may_not_ask_for_the_settings_is_warned_and_served(
    server: RedisServer, caplog: pytest.LogCaptureFixture,  # noqa: F811 - the fixture.
) -> None:  # fmt: skip
    server.ask("ACL", "SETUSER", "agent", "on", ">hush", "~hermes-cron:*", "+@all", "-@dangerous")
    with closing(open_store(server.url.replace(":canary@", "agent:hush@"))) as store:
        assert store.change("_wake.1", one_more) == 1
    assert "does not tell its settings" in caplog.text


def test_a_user_who_may_not_use_the_keys_is_told_so(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    server.ask("ACL", "SETUSER", "agent", "on", ">hush", "~other:*", "+@all")
    store = open_store(server.url.replace(":canary@", "agent:hush@"))
    with closing(store), pytest.raises(StoreError, match="does not allow this user what the store needs"):
        store.now()


def test_a_wrong_password_is_told_and_not_repeated(server: RedisServer) -> None:  # noqa: F811 - the fixture.
    store = open_store(server.url.replace("canary", "hush-hush"))
    with closing(store), pytest.raises(StoreError, match="wants another user or password") as caught:
        store.now()
    assert "hush-hush" not in str(caught.value) + repr(caught.value.__cause__)


def test_what_a_failover_kept_is_still_written_once(
    server: RedisServer, tmp_path_factory: pytest.TempPathFactory,  # noqa: F811 - the fixture.
) -> None:  # fmt: skip
    settled = Entry("a", "k", NOON, FireState.SUCCEEDED, settled_at=NOON)
    standby = RedisServer(tmp_path_factory.mktemp("standby"))
    try:
        standby.ask("CONFIG", "SET", "masterauth", "canary")
        standby.ask("REPLICAOF", "127.0.0.1", str(server.port))
        with closing(open_store(server.url)) as store, redis.Redis.from_url(server.url) as client:
            store.change("a", lambda kept, moment: (Record("a", entries=(settled,)), None))
            assert _replicated(client)
        server.kill()
        standby.ask("REPLICAOF", "NO", "ONE")
        with closing(open_store(standby.url)) as store:
            assert store.fires() == [settled]
            with pytest.raises(StoreError, match="has its outcome already"):
                store.change("a", lambda kept, moment: (Record("a", entries=(settled,)), None))
    finally:
        standby.kill()


def _replicated(client: Any) -> bool:
    """Whether a replica has everything, once it was given time."""
    return any(client.execute_command("WAIT", 1, 200) == 1 for _ in range(300))


def test_tls_is_spoken_and_a_strangers_certificate_refused(server: RedisServer, tmp_path: Path) -> None:  # noqa: F811 - a fixture.
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make_certificate(certificate, key)
    port = free_port()
    for name, value in [("tls-cert-file", certificate), ("tls-key-file", key), ("tls-auth-clients", "no")]:
        server.ask("CONFIG", "SET", name, str(value))
    server.ask("CONFIG", "SET", "tls-port", str(port))
    url = f"rediss://:canary@localhost:{port}/0"
    with closing(open_store(f"{url}?ssl_ca_certs={certificate}")) as store:
        assert store.change("_wake.1", one_more) == 1
    with closing(open_store(url)) as store, pytest.raises(StoreError, match=r"cannot be reached .*certificate"):
        store.now()
    with closing(open_store(f"{url}?ssl_cert_reqs=none")) as store:
        assert store.change("_wake.1", one_more) == 2


def make_certificate(certificate: Path, key: Path) -> None:
    """A certificate for localhost that vouches for itself."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
        .serial_number(1).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )  # fmt: skip
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption(),
    ))  # fmt: skip
