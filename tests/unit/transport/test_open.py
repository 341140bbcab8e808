"""Opening a broker by its URL."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hermes_cron.errors import ConfigError
from hermes_cron.transport import is_shared, open_broker


@pytest.mark.parametrize(
    "url",
    [
        "sqs://", "filesystem://", "sqla+sqlite:///x.db", "sqlalchemy://u:canary@h/d", "sentinel://h:26379",
        "redis+cluster://h", "rediscluster://h", "pgmq://h", "http://h", "", "memory", "redis:/h", "kafka://h", "REDI",
    ],
)  # fmt: skip
def test_a_transport_that_is_not_supported_is_refused_with_those_that_are(url: str) -> None:
    with pytest.raises(ConfigError, match="supported are memory://, redis://, rediss://, amqp://, amqps://") as caught:
        open_broker(url, "q")
    assert caught.value.field == "broker.url"
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:canary@h:port/0", "redis://:canary@[::1/0", "redis://a;redis://b", "redis://:canary@a,b/0",
        "redis://:canary@h/name", "redis://:canary@h/0?visibility_timeout=1", "amqp://u:canary@h//?heartbeat=0",
        "redis://h/0#canary", "rediss://h/0?socket_timeout=9", "memory://?x=1",
        "redis://h/0?ssl_ca_certs=x", "amqps://h//?ssl_cert_reqs=none",
    ],
)  # fmt: skip
def test_a_url_that_we_cannot_follow_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_broker(url, "q")
    assert caught.value.field == "broker.url"
    assert "canary" not in str(caught.value)


def test_only_memory_is_not_shared() -> None:
    assert not is_shared("memory://")
    assert is_shared("redis://h")
    assert is_shared("rediss://h/1?ssl_ca_certs=/ca.pem")
    assert is_shared("amqp://h//")
    assert is_shared("amqps://h//?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem")
    with pytest.raises(ConfigError):
        is_shared("sqs://")


def test_opening_and_closing_connects_to_nothing() -> None:
    for url in ("redis://:x@127.0.0.1:1/0", "amqp://u:p@127.0.0.1:1//", "memory://"):
        open_broker(url, "q").close()


LOADED = """
import sys
import hermes_cron.transport
assert "kombu" not in sys.modules
hermes_cron.transport.open_broker(sys.argv[1], "q")
print(" ".join(name for name in ("redis", "amqp", "sqlalchemy", "httpx", "falcon") if name in sys.modules))
"""


def test_only_what_the_scheme_needs_is_imported() -> None:
    def loaded(url: str) -> str:
        command = [sys.executable, "-c", LOADED, url]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    # kombu imports amqp itself, wherever it goes.
    assert loaded("memory://") == "amqp"
    assert loaded("redis://h") == "redis amqp"
    assert loaded("amqp://h") == "amqp"
