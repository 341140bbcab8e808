"""Slow clients: behind the proxy as it is shipped they cost good ones nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.security.front import BODY, Front, statuses

pytestmark = [pytest.mark.processes, pytest.mark.redis, pytest.mark.timeout(240)]
SLOW = 200
GOOD = 30


@contextlib.contextmanager
def slow_clients(connect: Callable[[], socket.socket], first: bytes, drip: bytes) -> Iterator[None]:
    """So many clients that send this at once, and then of the other one byte now and then."""
    socks = [connect() for _ in range(SLOW)]
    ended = threading.Event()

    def feed() -> None:
        place = 0
        while not ended.wait(0.5):
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.send(drip[place % len(drip) :][:1])
            place += 1

    for sock in socks:
        sock.sendall(first)
    thread = threading.Thread(target=feed, daemon=True)
    if drip:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if drip:
            thread.join()
        for sock in socks:
            sock.close()


def kinds(front: Front) -> dict[str, tuple[bytes, bytes]]:
    """What a slow client sends: nothing, headers byte by byte, or a body byte by byte."""
    whole = front.request(BODY, token="x")
    return {
        "silent": (b"", b""),
        "headers": (whole[:40], b"X-Slow: 1\r\n"),
        "body": (front.request(b"", length=10_000, token="x"), b"a"),
    }


@pytest.mark.parametrize("kind", ["silent", "headers", "body"])
def test_200_slow_clients_stop_no_good_fire_behind_the_shipped_proxy(
    front: Front, proxied: tuple[str, int], kind: str
) -> None:
    def ask() -> float:
        began = time.monotonic()
        assert statuses(front.ask(front.request(), address=proxied)) == [202]
        return time.monotonic() - began

    with slow_clients(lambda: front.connect(proxied), *kinds(front)[kind]):
        time.sleep(0.6)
        slowest = max(ask() for _ in range(GOOD))
    # Where they wait for slow clients at all, they wait for more than the time that `ask` has.
    assert slowest < 8, "good fires waited for slow clients"
