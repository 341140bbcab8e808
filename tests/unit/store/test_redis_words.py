"""What a `redis://` URL may say, and how errors are told; no server needed."""

from __future__ import annotations

import pytest
from redis import exceptions
from redis.connection import DefaultParser

from hermes_cron.errors import ConfigError, StoreError
from hermes_cron.store import open_store
from hermes_cron.store.redis_faults import Fault, explain, fault_of
from hermes_cron.store.redis_url import read_place


def test_a_url_says_where_and_with_what_prefix() -> None:
    place = read_place("rediss://agent:p%40ss@[::1]:6380/3?prefix=mine%3A&ssl_ca_certs=/etc/ca.pem")
    assert (place.where, place.prefix, place.tls, place.secret) == ("rediss://[::1]:6380/3", "mine:", True, "p@ss")
    assert place.options == {
        "host": "::1", "port": 6380, "db": 3, "username": "agent", "password": "p@ss",
        "ssl_ca_certs": "/etc/ca.pem", "ssl_cert_reqs": "required", "ssl_check_hostname": True,
    }  # fmt: skip


def test_a_url_need_not_say_much() -> None:
    place = read_place("redis://")
    assert (place.where, place.prefix, place.tls) == ("redis://127.0.0.1:6379/0", "hermes-cron:", False)
    assert place.options == {"host": "127.0.0.1", "port": 6379, "db": 0}


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("redis://:hush@host:port/0", "cannot be read"),
        ("redis://:hush@host/zero", "must end with a database's number"),
        ("redis://:hush@host/0#1", "must end with a database's number"),
        ("redis://:hush@host/0?retry_on_timeout=1", "'retry_on_timeout', which is none of prefix"),
        ("redis://:hush@host/0?ssl_cert_reqs=none", "'ssl_cert_reqs', which is none of prefix"),
        ("redis://:hush@host/0?prefix=", "has a prefix that is not"),
        ("redis://:hush@host/0?prefix=a%20b", "has a prefix that is not"),
        ("rediss://:hush@host/0?ssl_cert_reqs=maybe", "neither required nor none"),
    ],
)
def test_a_url_that_says_what_it_may_not_is_refused(url: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        open_store(url)
    assert caught.value.field == "store.url"
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "fault", "told"),
    [
        ("LOADING Redis is loading the dataset in memory", Fault.WAIT, "is still reading its data"),
        ("BUSY Redis is busy running a script.", Fault.WAIT, "is busy with a script"),
        ("MASTERDOWN Link with MASTER is down", Fault.WAIT, "has lost its primary"),
        ("READONLY You can't write against a read only replica.", Fault.LOST, "Name the primary"),
        ("OOM command not allowed when used memory > 'maxmemory'.", Fault.OTHER, "Raise maxmemory"),
        ("ERR Error running script (call to f_1): @user_script:1: -OOM command not allowed", Fault.OTHER, "is full"),
        ("MISCONF Redis is configured to save RDB snapshots, but", Fault.OTHER, "refuses writes.*Look at its disk"),
        ("NOREPLICAS Not enough good replicas to write.", Fault.OTHER, "too few replicas"),
        ("NOAUTH Authentication required.", Fault.OTHER, "wants another user or password"),
        ("WRONGPASS invalid username-password pair", Fault.OTHER, "wants another user or password"),
        ("NOPERM this user has no permissions", Fault.OTHER, "does not allow this user"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", Fault.OTHER, "another program's data"),
        ("MOVED 3999 127.0.0.1:6381", Fault.OTHER, "is part of a Redis cluster"),
        ("CROSSSLOT Keys in request don't hash to the same slot", Fault.OTHER, "is part of a Redis cluster"),
        ("ERR unknown command 'EVAL'", Fault.OTHER, "cannot do this"),
    ],
)
def test_an_error_is_told_with_what_to_do(said: str, fault: Fault, told: str) -> None:
    error = DefaultParser.parse_error(said)
    assert fault_of(error) is fault
    assert type(explain(error, read_place("redis://:hush@host"))) is StoreError
    with pytest.raises(StoreError, match=told):
        raise explain(error, read_place("redis://:hush@host"))


@pytest.mark.parametrize("kind", [exceptions.ConnectionError, exceptions.TimeoutError])
def test_a_lost_connection_is_told_without_the_password(kind: type[exceptions.RedisError]) -> None:
    error = kind("broke at hush")
    assert fault_of(error) is Fault.LOST
    told = str(explain(error, read_place("redis://:hush@host")))
    assert told.startswith("The store redis://host:6379/0 cannot be reached (broke at ***).")
    assert "hush" not in told


def test_a_server_that_is_away_is_named_without_the_password() -> None:
    store = open_store("redis://user:hush-hush@127.0.0.1:1/0")
    with pytest.raises(StoreError, match=r"The store redis://127\.0\.0\.1:1/0 cannot be reached") as caught:
        store.now()
    assert "hush-hush" not in str(caught.value) + repr(caught.value.__cause__)
