"""Slow clients: behind the proxy as it is shipped they cost good ones nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hermes_cron import contract
from tests.chaos.servers import free_port
from tests.integration.system import System
from tests.integration.test_load_balancer import nginx
from tests.security.front import BODY, Front, statuses
from tests.security.test_nas_doors import FAR, Door

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


@pytest.mark.parametrize("kind", ["silent", "headers", "body"])
def test_200_slow_clients_stop_no_agent_behind_the_same_proxy(
    make_system: Callable[..., System], tmp_path: Path, kind: str
) -> None:
    """NAS has the same server, and wants the same proxy, with room for a batch."""
    nas, port, folder = Door(make_system("memory://")), free_port(), tmp_path / "nginx"
    folder.mkdir()
    behind = nas.system.nas_socket.getsockname()[1]
    # An agent's own: NAS does not read the body of anybody else.
    token = (tmp_path / "two").read_text().strip()
    head = f"POST /api/agent-cron/batch HTTP/1.1\r\nHost: nas\r\nAuthorization: Bearer {token}\r\n".encode()
    first, drip = {
        "silent": (b"", b""), "headers": (head, b"X-Slow: 1\r\n"),
        "body": (head + b"Content-Length: 9999\r\n\r\n", b"a"),
    }[kind]  # fmt: skip
    url = "https://nobody.invalid/" + "a" * 1_900
    items = [{"job_id": f"j{n}", "fire_at": FAR, "agent_callback_url": url} for n in range(contract.BATCH_LIMIT)]
    with nginx(folder, port, [behind, behind], most_body="2m"):
        nas.system.nas_url = f"http://127.0.0.1:{port}"
        nas.system.wait(lambda: nas.system.answers(nas.system.nas_url + "/healthz"), "nginx answers")
        with slow_clients(lambda: socket.create_connection(("127.0.0.1", port), 20), first, drip):
            time.sleep(0.6)
            # Whoever waited for slow clients would wait for more than the 20 s that a call has.
            answer = nas.ask("one", "POST", contract.BATCH_PATH, provision=items)
            assert {item["status"] for item in json.loads(answer.body)["provision"]} == {200}
            assert [nas.arm("two", f"job-{n}").status for n in range(10)] == [200] * 10
