"""HTTP calls of ours to somebody else: one total deadline, a capped answer, no redirects, addresses pinned.

The home of httpx. A name is resolved once, every address it has is judged, and the connection goes to an address
that was judged, with the name kept for TLS and Host: a second look-up cannot lead elsewhere. The environment's
proxies are ignored, for they would decide where tokens go.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from hermes_cron.clock import monotonic
from hermes_cron.errors import AddressRefused, OutboundError
from hermes_cron.version import __version__

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Judge = Callable[[Address], bool]

USER_AGENT = f"hermes-cron/{__version__}"
MAX_ANSWER_BYTES = 256 * 1024
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


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
    # The resolver knows no deadline, so it works in a thread that is left behind when it takes too long.
    answer: list[list[str] | OSError | UnicodeError] = []

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.append(list(dict.fromkeys(str(row[4][0]) for row in rows)))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    thread = threading.Thread(target=ask, name="hermes-cron-resolver", daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    if not answer:
        raise OutboundError(f"{host} could not be resolved within {seconds:.1f} s.")
    if isinstance(answer[0], Exception):
        raise OutboundError(f"{host} cannot be resolved: {answer[0]}.") from answer[0]
    return answer[0]


class Outbound:
    """A pool of connections for calls whose target addresses `allow` judges. May be used from any thread."""

    def __init__(self, allow: Judge = any_address, *, connections: int = 16) -> None:
        self._until = threading.local()
        backend = _Backend(allow, self._until)
        pool = httpcore.ConnectionPool(
            ssl_context=None, max_connections=connections, max_keepalive_connections=connections,
            keepalive_expiry=10.0, network_backend=backend,
        )  # fmt: skip
        self._client = httpx.Client(
            transport=_Transport(pool), trust_env=False, follow_redirects=False,
            headers={"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"},
        )  # fmt: skip

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
        self._until.at = monotonic() + deadline
        try:
            with self._client.stream(
                method, url, headers=dict(headers or {}), content=body, timeout=httpx.Timeout(deadline)
            ) as response:
                found = _read(response.iter_raw(), max_bytes)
                names = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status_code, names, found)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise OutboundError(_words(method, url, error)) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            sent = not isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL | httpx.LocalProtocolError)
            raise OutboundError(_words(method, url, error), sent=sent) from error
        except UnicodeError as error:
            raise OutboundError(f"{method} cannot be sent: its URL or a header is not plain text.") from error

    def close(self) -> None:
        """Give back every connection. Closing twice is closing once."""
        self._client.close()


def _read(chunks: Iterator[bytes], most: int) -> bytes:
    found = b""
    for chunk in chunks:
        found += chunk
        if len(found) >= most:
            return found[:most]
    return found


def _words(method: str, url: str, error: Exception) -> str:
    # The query is left out: it is the part of a URL in which people put secrets.
    return f"{method} {url.partition('?')[0]} failed: {str(error) or type(error).__name__}."


class _Transport(httpx.HTTPTransport):
    """httpx's own transport over a pool of ours, since it takes no network backend itself."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        super().__init__(trust_env=False)
        self._pool.close()
        self._pool = pool


class _Backend(httpcore.NetworkBackend):
    """Sockets to judged addresses; each of their operations ends at the calling thread's deadline."""

    def __init__(self, allow: Judge, until: threading.local) -> None:
        self._allow = allow
        self._until = until
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        """Connect to the first of the host's addresses that answers; all of them must be allowed."""
        failure: Exception = httpcore.ConnectError("no address answered")
        for address in resolve(host, port, self._allow, _left(self._until)):
            try:
                stream = self._plain.connect_tcp(address, port, _left(self._until), local_address, socket_options)
                return _Stream(stream, self._until)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def connect_unix_socket(self, path: str, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        """Refused: no call of ours goes to a socket file."""
        raise httpcore.ConnectError(f"{path} is no address")

    def sleep(self, seconds: float) -> None:
        """Never asked for: we retry elsewhere."""
        self._plain.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    """A socket whose every operation ends at the deadline, however slowly its bytes drip."""

    def __init__(self, inner: httpcore.NetworkStream, until: threading.local) -> None:
        self._inner = inner
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(self._until))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _left(self._until)), self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left(until: threading.local) -> float:
    seconds = until.at - monotonic()
    if seconds <= 0:
        raise httpcore.ReadTimeout("the deadline has passed")
    return float(seconds)
