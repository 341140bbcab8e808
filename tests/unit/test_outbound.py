"""HTTP calls of ours: within one total deadline, to judged addresses only, with capped answers and no redirects."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime

import pytest

from hermes_cron.errors import AddressRefused, OutboundError
from hermes_cron.outbound import Answer, Outbound, any_address, is_public, resolve
from hermes_cron.pinned import PinnedClient

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
Talk = Callable[[socket.socket], None]


class Peer:
    """A server on loopback that does with each connection what the test says."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.connections = 0
        self.asked: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            self.asked.append(client.recv(65_536))
            self._talk(client)


@pytest.fixture
def peer() -> Iterator[Callable[[Talk], Peer]]:
    made: list[Peer] = []

    def make(talk: Talk) -> Peer:
        made.append(Peer(talk))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def outbound() -> Iterator[Outbound]:
    made = Outbound()
    yield made
    made.close()
    made.close()


def says(text: bytes) -> Talk:
    return lambda client: client.sendall(text)


def ok(body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nX-Tide: High\r\n%sContent-Length: %d\r\n\r\n%s" % (more, len(body), body)


def test_it_calls_and_tells_the_answer(peer: Callable[[Talk], Peer], outbound: Outbound) -> None:
    server = peer(says(ok(b"hello")))
    answer = outbound.request("POST", f"{server.url}/x?y=1", headers={"X-One": "1"}, body=b"{}", deadline=30)
    assert (answer.status, answer.ok, answer.body, answer.headers["x-tide"]) == (200, True, b"hello", "High")
    asked = server.asked[0].lower()
    assert asked.startswith(b"post /x?y=1 http/1.1\r\n")
    assert b"user-agent: hermes-cron/" in asked
    assert b"accept: application/json" in asked
    assert b"x-one: 1" in asked


def test_an_answer_of_any_status_is_an_answer() -> None:
    assert [Answer(status, {}, b"").ok for status in (199, 200, 204, 299, 300, 404, 500)] == [
        False, True, True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7), (" 7 ", 7), ("0", 0), ("1.5", 1.5), ("Wed, 01 Jul 2026 12:00:30 GMT", 30),
        ("Wed, 01 Jul 2026 11:00:00 GMT", 0), ("Wed, 01 Jul 2026 12:00:30", 30), ("", None), ("soon", None),
        ("-5", None), ("1e999", None), ("nan", None), ("9" * 400, None),
        ("Wed, 01 Jul 2026 12:00:30 +99999999999999999999", None), ("Wed, 01 Jul 99999999999999999999 12:00:30", None),
    ],
)  # fmt: skip
def test_it_reads_retry_after(text: str, seconds: float | None) -> None:
    assert Answer(503, {"retry-after": text}, b"").retry_after(NOON) == seconds
    assert Answer(503, {}, b"").retry_after(NOON) is None


def test_it_follows_no_redirect(peer: Callable[[Talk], Peer], outbound: Outbound) -> None:
    elsewhere = peer(says(ok(b"")))
    server = peer(says(b"HTTP/1.1 307 Go\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % elsewhere.url.encode()))
    assert outbound.request("GET", server.url, deadline=30).status == 307
    assert elsewhere.connections == 0


def test_it_ignores_the_proxies_of_its_environment(
    peer: Callable[[Talk], Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = peer(says(ok(b"from the proxy")))
    server = peer(says(ok(b"from the server")))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    outbound = Outbound()
    assert outbound.request("GET", server.url, deadline=30).body == b"from the server"
    outbound.close()


@pytest.mark.parametrize("length", [10, 1000])
def test_a_long_answer_is_cut(length: int, peer: Callable[[Talk], Peer], outbound: Outbound) -> None:
    server = peer(says(ok(b"x" * 100_000)))
    assert outbound.request("GET", server.url, deadline=30, max_bytes=length).body == b"x" * length


def drip(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        client.sendall(b"x")
        time.sleep(0.05)


def silence(client: socket.socket) -> None:
    client.recv(1)


@pytest.mark.parametrize("talk", [drip, silence])
def test_the_deadline_is_one_for_the_whole_call_however_slowly_bytes_drip(
    talk: Talk, peer: Callable[[Talk], Peer], outbound: Outbound
) -> None:
    outbound.open()
    server = peer(talk)
    start = time.monotonic()
    with pytest.raises(OutboundError) as caught:
        outbound.request("POST", server.url, body=b"x", deadline=2)
    assert time.monotonic() - start < 30
    assert caught.value.sent, "the other side may have acted"


def test_what_was_never_connected_was_never_sent(outbound: Outbound) -> None:
    # It is bound and does not listen, so that nobody else can listen there either.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/x"
        with pytest.raises(OutboundError) as caught:
            outbound.request("POST", url, body=b"x", deadline=30)
    assert not caught.value.sent


def test_an_address_that_is_silent_takes_only_its_share_of_the_time(peer: Callable[[Talk], Peer]) -> None:
    server = peer(says(ok(b"hello")))
    port = int(server.url.rpartition(":")[2])
    with silent("127.0.0.2", port):
        client = PinnedClient(lambda host, port, seconds: ["127.0.0.2", "127.0.0.1"], 1)
        status, _, body = client.request("GET", f"http://agent.example.org:{port}/", {}, None, 8, 100)
        assert (status, body) == (200, b"hello")
        client.close()


def test_what_was_only_ever_connecting_was_never_sent() -> None:
    with silent("127.0.0.2", 0) as port:
        client = PinnedClient(lambda host, port, seconds: ["127.0.0.2"], 1)
        with pytest.raises(OutboundError) as caught:
            client.request("POST", f"http://agent.example.org:{port}/", {}, b"", 0.3, 100)
        assert not caught.value.sent
        client.close()
    client = PinnedClient(lambda host, port, seconds: time.sleep(0.3) or ["127.0.0.1"], 1)
    with pytest.raises(OutboundError) as caught:
        client.request("POST", "http://agent.example.org:1/", {}, b"", 0.2, 100)
    assert not caught.value.sent
    client.close()


def test_after_it_was_closed_a_call_is_an_error_of_ours(peer: Callable[[Talk], Peer]) -> None:
    server, closed = peer(says(ok(b""))), Outbound()
    closed.open()
    closed.close()
    with pytest.raises(OutboundError, match="closed") as caught:
        closed.request("POST", server.url, deadline=30)
    assert not caught.value.sent
    assert server.connections == 0


@contextmanager
def silent(host: str, port: int) -> Iterator[int]:
    """A place at which connecting gets no answer: whoever listens there has no room for one more."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    "talk", [lambda client: None, says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), says(b"?")]
)
def test_an_answer_that_breaks_off_may_have_had_its_effect(
    talk: Talk, peer: Callable[[Talk], Peer], outbound: Outbound
) -> None:
    with pytest.raises(OutboundError) as caught:
        outbound.request("POST", peer(talk).url, body=b"x", deadline=30)
    assert caught.value.sent


@pytest.mark.parametrize("url", ["", "nothing", "ftp://127.0.0.1/", "http://", "http://[::1", "http://a b/", "unix:/x"])
def test_what_is_no_url_is_an_error_of_ours(url: str, outbound: Outbound) -> None:
    with pytest.raises(OutboundError) as caught:
        outbound.request("GET", url, deadline=1)
    assert not caught.value.sent


def test_an_error_does_not_repeat_the_query(outbound: Outbound) -> None:
    with pytest.raises(OutboundError) as caught:
        outbound.request("GET", "ftp://127.0.0.1/?token=hunter2", deadline=1)
    assert "hunter2" not in str(caught.value)


def test_nothing_is_sent_to_an_address_that_is_refused(peer: Callable[[Talk], Peer]) -> None:
    server = peer(says(ok(b"")))
    outbound = Outbound(is_public)
    for url in (
        server.url,
        server.url.replace("127.0.0.1", "localhost"),
        server.url.replace("127.0.0.1", "[::ffff:127.0.0.1]"),
    ):
        with pytest.raises(AddressRefused) as caught:
            outbound.request("POST", url, body=b"secret", deadline=30)
        assert not caught.value.sent
    assert server.connections == 0
    outbound.close()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1", "::127.0.0.1", "64:ff9b:1::7f00:1", "::ffff:0:7f00:1",
        "fec0::1", "5f00::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_everybodys_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert any_address(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::"])
def test_an_address_that_is_everybodys_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_every_address_of_a_name_must_be_allowed() -> None:
    with pytest.raises(AddressRefused, match="localhost leads to"):
        resolve("localhost", 80, is_public, 5)
    assert set(resolve("localhost", 80, any_address, 5)) <= {"127.0.0.1", "::1"}


def test_a_name_that_is_none_is_an_error_of_ours() -> None:
    for name in ("x" * 300, "a..b", "\udcff"):
        with pytest.raises(OutboundError):
            resolve(name, 80, any_address, 5)


def test_a_machine_without_a_thread_left_is_an_error_of_ours() -> None:
    code = """
import resource, threading
from hermes_cron.errors import OutboundError
from hermes_cron.outbound import any_address, resolve
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
threading.stack_size(2 << 30)
try:
    resolve("localhost", 80, any_address, 60)
except OutboundError as error:
    print(error.message)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.startswith("localhost could not be resolved")


def test_it_may_be_used_by_many_threads_each_with_its_own_deadline(
    peer: Callable[[Talk], Peer], outbound: Outbound
) -> None:
    quick, slow = peer(says(ok(b"quick", b"Connection: close\r\n"))), peer(silence)
    found: list[object] = []

    def call(url: str, deadline: float) -> None:
        try:
            found.append(outbound.request("GET", url, deadline=deadline).body)
        except OutboundError as error:
            found.append(type(error))

    threads = [threading.Thread(target=call, args=(slow.url, 0.4))]
    threads += [threading.Thread(target=call, args=(quick.url, 60.0)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, found)) == sorted(map(str, [OutboundError, *[b"quick"] * 8]))
