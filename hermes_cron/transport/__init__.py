"""The transport room: carries a fire from here to there."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

from hermes_cron.errors import ConfigError
from hermes_cron.interfaces import Broker
from hermes_cron.transport.signing import read_signer

DEADLINE_S = 2.0
"""Seconds one call of a broker may take in all."""

SCHEMES = ("memory", "redis", "rediss", "amqp", "amqps")

_FIELD = "broker.url"
_TLS_OPTIONS = {
    "rediss": ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"),
    "amqps": ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"),
}


def open_broker(url: str, queue: str, *, deadline: float = DEADLINE_S, signing_key_file: str = "") -> Broker:
    """The broker behind a URL, on this queue. Its first use connects, not this.

    Every `memory://` broker of one process with the same queue is the same queue: so web and worker can share it.
    With a file of secrets every message is signed, and one that is not is refused.

    Raises:
        ConfigError: The URL cannot be read, or names no transport we support; or the file cannot be used.
    """
    scheme, signer = _split(url).scheme, read_signer(signing_key_file, queue)
    if scheme == "memory":
        from hermes_cron.transport import memory  # noqa: PLC0415 - loaded by the URL's scheme, in this one place.

        return memory.open_memory(queue, deadline, signer)
    if scheme in ("redis", "rediss"):
        from hermes_cron.transport import redis  # noqa: PLC0415 - loaded by the URL's scheme, in this one place.

        return redis.open_redis(url, queue, deadline, signer)
    from hermes_cron.transport import amqp  # noqa: PLC0415 - loaded by the URL's scheme, in this one place.

    return amqp.open_amqp(url, queue, deadline, signer)


def is_shared(url: str) -> bool:
    """Whether processes can meet at this URL; `memory://` joins web and worker of one process only.

    Raises:
        ConfigError: The URL cannot be read, or names no transport we support.
    """
    return _split(url).scheme != "memory"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        # Neither the URL nor what is wrong with it is repeated: there may be a password in it.
        raise ConfigError("broker.url cannot be read as a URL.", field=_FIELD) from error
    if parts.scheme not in SCHEMES or "://" not in url:
        schemes = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ConfigError(f"broker.url names no queue we support; supported are {schemes}.", field=_FIELD)
    if ";" in url or "," in parts.netloc.rpartition("@")[2]:
        raise ConfigError("broker.url names more than one server; name one.", field=_FIELD)
    known = _TLS_OPTIONS.get(parts.scheme, ())
    if parts.fragment or not {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} <= {*known}:
        hint = f"It takes {', '.join(known)}." if known else f"{parts.scheme}:// takes none."
        raise ConfigError("broker.url has options that are not known.", hint=hint, field=_FIELD)
    if parts.scheme.startswith("redis") and re.fullmatch(r"/?|/\d+", parts.path) is None:
        raise ConfigError("broker.url must name its Redis database by number, like redis://host:6379/0.", field=_FIELD)
    return parts
