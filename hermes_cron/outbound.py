"""HTTP calls of ours to somebody else: one total deadline, a capped answer, no redirects, addresses pinned.

A name is resolved once, every address it has is judged, and the connection goes to an address
that was judged, with the name kept for TLS and Host: a second look-up cannot lead elsewhere. The environment's
proxies are ignored, for they would decide where tokens go.
"""

from __future__ import annotations

import codecs
import ipaddress
import math
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

from hermes_cron.errors import AddressRefused, OutboundError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Judge = Callable[[Address], bool]

MAX_ANSWER_BYTES = 256 * 1024
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# All that is handed out to everybody. Outside of it Python calls some ways to write an inner IPv4 address global.
_UNICAST = ipaddress.IPv6Network("2000::/3")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side answered; header names are in lower case, `body` is at most as long as was allowed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether it is a 2xx."""
        return 200 <= self.status < 300

    def retry_after(self, now: datetime) -> float | None:
        """Seconds from `now` to its `Retry-After`, which is a number or a date (RFC 9110); None without a good one."""
        text = self.headers.get("retry-after", "").strip()
        try:
            seconds = float(text) if text[:1].isdigit() else _seconds_until(text, now)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(text: str, now: datetime) -> float:
    at = parsedate_to_datetime(text)
    return (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()


class Client(Protocol):
    """What makes the calls, once it is loaded."""

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, deadline: float, max_bytes: int
    ) -> tuple[int, Mapping[str, str], bytes]:
        """As `Outbound.request`: status, headers by their names in lower case, body."""

    def close(self) -> None:
        """Give back every connection."""


def any_address(address: Address) -> bool:
    """Allow every address: for URLs that come from our own configuration."""
    return True


def is_public(address: Address) -> bool:
    """Whether an address is reachable by everybody: not private, loopback, link-local, multicast or reserved."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _UNICAST:
            return False
    return address.is_global and not address.is_multicast


def resolve(host: str, port: int, allow: Judge, seconds: float) -> list[str]:
    """The addresses of a host, all of which are allowed.

    Raises:
        AddressRefused: One of them is not allowed.
        OutboundError: The name has none, or they did not come in time.
    """
    found = _look_up(host.strip("[]").partition("%")[0], port, seconds)
    for text in found:
        if not allow(ipaddress.ip_address(text.partition("%")[0])):
            raise AddressRefused(f"{host} leads to {text}, an address that calls of this kind may not go to.")
    return found


def _look_up(host: str, port: int, seconds: float) -> list[str]:
    # The resolver knows no deadline, so it works in a thread that is left behind when it takes too long; where there is
    # no time at all, none is begun, or many names in one call would leave as many threads behind.
    if seconds <= 0:
        raise OutboundError(f"{host} could not be resolved in no time.")
    answer: list[list[str] | OSError | UnicodeError] = []

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.append(list(dict.fromkeys(str(row[4][0]) for row in rows)))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    thread = threading.Thread(target=ask, name="hermes-cron-resolver", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise OutboundError(f"{host} could not be resolved: the machine has no thread left to give.") from error
    thread.join(seconds)
    if not answer:
        raise OutboundError(f"{host} could not be resolved within {seconds:.1f} s.")
    if isinstance(answer[0], Exception):
        raise OutboundError(f"{host} cannot be resolved: {answer[0]}.") from answer[0]
    return answer[0]


class Outbound:
    """A pool of connections for calls whose target addresses `allow` judges. May be used from any thread."""

    def __init__(self, allow: Judge = any_address, *, connections: int = 16) -> None:
        self._allow = allow
        self._connections = connections
        self._client: Client | None = None

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None,
        deadline: float, max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:  # fmt: skip
        """Make one call; everything about it, from the name's look-up to the answer's last byte, within `deadline` s.

        An answer of any status is an answer; a body longer than `max_bytes` is cut there.

        Raises:
            AddressRefused: The address is not allowed.
            OutboundError: No whole answer came in time; `sent` tells whether the call may have had its effect.
        """
        client = self._client or self._opened()
        return Answer(*client.request(method, url, headers or {}, body, deadline, max_bytes))

    def open(self) -> None:
        """Load now what the first call would wait for; for who must call at an exact instant."""
        self._opened()

    def close(self) -> None:
        """Give back every connection. Closing twice is closing once."""
        if self._client is not None:
            self._client.close()

    def _addresses(self, host: str, port: int, seconds: float) -> list[str]:
        return resolve(host, port, self._allow, seconds)

    def _opened(self) -> Client:
        with _LOADING:
            if self._client is None:
                from hermes_cron.pinned import PinnedClient  # noqa: PLC0415 - `pinned` says why.

                self._client = PinnedClient(self._addresses, self._connections)
            return self._client


_LOADING = threading.Lock()

# The first resolved name would import this, in whatever thread; a fork in the middle of an import leaves the child
# with a lock that nobody releases. So a fork waits for what is being loaded.
codecs.lookup("idna")
os.register_at_fork(before=_LOADING.acquire, after_in_parent=_LOADING.release, after_in_child=_LOADING.release)
