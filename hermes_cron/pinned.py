"""An HTTP client whose sockets lead to judged addresses only, and end at the caller's deadline. The home of httpx.

Imported at the first call of `outbound.Outbound`: it takes as long as all the rest of a command, and most processes
that accept a fire, list jobs or print help call nobody.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import httpcore
import httpx

from hermes_cron.clock import monotonic
from hermes_cron.errors import OutboundError
from hermes_cron.version import __version__

USER_AGENT = f"hermes-cron/{__version__}"
Resolve = Callable[[str, int, float], list[str]]
"""The judged addresses of a host and port, within so many seconds."""


class PinnedClient:
    """A pool of connections to the addresses that `resolve` gives. May be used from any thread."""

    def __init__(self, resolve: Resolve, connections: int) -> None:
        self._until = threading.local()
        pool = httpcore.ConnectionPool(
            ssl_context=None, max_connections=connections, max_keepalive_connections=connections,
            keepalive_expiry=10.0, network_backend=_Backend(resolve, self._until),
        )  # fmt: skip
        self._client = httpx.Client(
            transport=_Transport(pool), trust_env=False, follow_redirects=False,
            headers={"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"},
        )  # fmt: skip

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, deadline: float, max_bytes: int
    ) -> tuple[int, Mapping[str, str], bytes]:
        """As `Outbound.request`: status, headers by their names in lower case, body."""
        self._until.at = monotonic() + deadline
        if self._client.is_closed:
            raise OutboundError(f"{method} was not sent: its connections were closed.")
        try:
            with self._client.stream(
                method, url, headers=dict(headers), content=body, timeout=httpx.Timeout(deadline)
            ) as response:
                found = _read(response.iter_raw(), max_bytes)
                names = {name.lower(): value for name, value in response.headers.items()}
                return response.status_code, names, found
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise OutboundError(_words(method, url, error)) from error
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
            sent = not isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL | httpx.LocalProtocolError)
            raise OutboundError(_words(method, url, error), sent=sent) from error
        except UnicodeError as error:
            raise OutboundError(f"{method} cannot be sent: its URL or a header is not plain text.") from error

    def close(self) -> None:
        """Give back every connection."""
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
        # Its own __init__ would only load the system's certificates, for a pool that is never used.
        self._pool = pool


class _Backend(httpcore.NetworkBackend):
    """Sockets to judged addresses; each of their operations ends at the calling thread's deadline."""

    def __init__(self, resolve: Resolve, until: threading.local) -> None:
        self._resolve = resolve
        self._until = until
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        """Connect to the first of the host's addresses that answers; all of them must be allowed."""
        failure: Exception = httpcore.ConnectError("no address answered")
        addresses = self._resolve(host, port, _left(self._until, httpcore.ConnectTimeout))
        for place, address in enumerate(addresses):
            # One that is silent, as a family that is not routed often is, must leave the others time.
            share = _left(self._until, httpcore.ConnectTimeout) / (len(addresses) - place)
            try:
                stream = self._plain.connect_tcp(address, port, share, local_address, socket_options)
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
        seconds = _left(self._until, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, seconds), self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left(until: threading.local, late: type[httpcore.TimeoutException] = httpcore.ReadTimeout) -> float:
    seconds = until.at - monotonic()
    if seconds <= 0:
        raise late("the deadline has passed")
    return float(seconds)
