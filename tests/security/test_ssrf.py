"""URLs that others choose: whatever they say, no call of ours reaches an address inside, where a canary listens."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hermes_cron import contract
from hermes_cron.clock import instant_text, utc_now
from tests.chaos.servers import free_port
from tests.integration.system import System
from tests.security.names import Names

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]
Make = Callable[..., System]
MOST_SENT = 16 * 1024 * 1024


@dataclass
class Canary:
    """A listener on every loopback address that we can have; whoever connects is counted, and may be sent on."""

    redirect: str = ""
    hits: list[str] = field(default_factory=list)
    socks: list[socket.socket] = field(default_factory=list)
    port: int = 0

    def listen(self) -> None:
        self.port = free_port()  # That no client elsewhere still takes for somebody who has ended.
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.2")):
            sock = socket.socket(family)
            try:
                sock.bind((address, self.port))
            except OSError:
                continue
            self.port = sock.getsockname()[1]
            sock.listen(16)
            self.socks.append(sock)
            threading.Thread(target=self._serve, args=(sock, address), daemon=True).start()

    def _serve(self, sock: socket.socket, address: str) -> None:
        while True:
            try:
                client, _ = sock.accept()
            except OSError:
                return
            with client:
                client.settimeout(2)
                self.hits.append(f"{address} {client.recv(65_536)[:40]!r}")
                head = f"HTTP/1.1 307 Go\r\nLocation: {self.redirect}\r\n" if self.redirect else "HTTP/1.1 202 Yes\r\n"
                client.sendall(f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())

    def close(self) -> None:
        for sock in self.socks:
            sock.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    """Where nobody may call."""
    new = Canary()
    new.listen()
    yield new
    new.close()


INSIDE = (
    "http://127.0.0.1:{port}", "http://127.1:{port}", "http://127.0.0.2:{port}", "http://0x7f.1:{port}",
    "http://0x7f000001:{port}", "http://2130706433:{port}", "http://017700000001:{port}", "http://0:{port}",
    "http://0.0.0.0:{port}", "http://[::1]:{port}", "http://[::]:{port}", "http://[::ffff:127.0.0.1]:{port}",
    "http://[::ffff:7f00:1]:{port}", "http://[64:ff9b::7f00:1]:{port}", "http://[2002:7f00:1::]:{port}",
    "http://[::127.0.0.1]:{port}", "http://[fe80::1%25lo]:{port}", "http://localhost:{port}", "http://localhost.:{port}",
    "http://LOCALHOST:{port}", "http://127.0.0.1.:{port}", "http://ⓛocalhost:{port}", "http://127。0。0。1:{port}",
    "http://169.254.169.254/latest/meta-data", "http://10.0.0.1", "http://192.168.0.1", "http://100.64.0.1",
    "http://224.0.0.1", "http://255.255.255.255", "http://[fd00::1]", "https://127.0.0.1:{port}",
    "http://public.example@127.0.0.1:{port}", "http://127.0.0.1:{port}#@public.example", "http://127.0.0.1:{port}?x=",
    "http://public.example\\@127.0.0.1:{port}", "http:127.0.0.1:{port}", "//127.0.0.1:{port}", "file:///etc/passwd",
    "gopher://127.0.0.1:{port}", "http://127.0.0.1:{port}\r\nX: y", " http://127.0.0.1:{port}",
)  # fmt: skip


def provision(system: System, job_id: str, url: str, seconds: float = -1) -> int:
    """What NAS answers to an arm with this callback, due by then."""
    fire_at = instant_text(utc_now() + timedelta(seconds=seconds))
    body = {"job_id": job_id, "fire_at": fire_at, "agent_callback_url": url, "dedup_key": f"{job_id}:{fire_at}"}
    token = system.token_file.read_text().strip()
    answer = system.outbound.request(
        "POST", system.nas_url + contract.PROVISION_PATH, body=json.dumps(body).encode(), deadline=10,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )  # fmt: skip
    return answer.status


def start_nas(system: System, *flags: str) -> Any:
    """NAS as it is shipped: private callbacks are not allowed unless a flag says so."""
    fd = system.nas_socket.fileno()
    home = ("--home", str(system.home / "nas"))
    nas = system.start("nas", "nas", "serve", *home, "--bind", f"fd://{fd}", "--public-url", system.nas_url, *flags,
                       fds=(fd,))  # fmt: skip
    system.wait(lambda: system.answers(system.nas_url + "/healthz"), "NAS answers")
    if not system.token_file.exists():
        agent = ("nas", "agents", "add", "it", "--audience", "agent:it", "--token-file", str(system.token_file))
        assert system.cli(*agent, *home).returncode == 0
    return nas


def test_nas_takes_no_callback_to_an_address_inside(make_system: Make, canary: Canary) -> None:
    system = make_system("memory://")
    start_nas(system)
    for number, spelled in enumerate(INSIDE):
        url = spelled.format(port=canary.port)
        assert provision(system, f"job-{number}", url) == 400, url
    # A name that cannot be looked up now may stand; it leads nowhere.
    assert provision(system, "nowhere", f"http://nobody.invalid:{canary.port}") == 200
    time.sleep(1.5)
    assert canary.hits == []


def test_nas_looks_at_the_address_again_when_it_delivers(make_system: Make, canary: Canary) -> None:
    system = make_system("memory://")
    nas = start_nas(system, "--allow-private-callbacks")
    assert provision(system, "late", f"http://127.0.0.1:{canary.port}", seconds=6) == 200
    nas.terminate()
    assert nas.wait(20) == 0
    start_nas(system)
    system.wait(lambda: "late" in system.log("nas"), "the delivery to be tried")
    assert canary.hits == []


def test_nas_follows_no_redirect_inside(make_system: Make, canary: Canary) -> None:
    other = Canary(redirect=f"http://127.0.0.1:{canary.port}/api/cron/fire")
    other.listen()
    system = make_system("memory://")
    start_nas(system, "--allow-private-callbacks")
    assert provision(system, "sent-on", f"http://127.0.0.1:{other.port}") == 200
    system.wait(lambda: other.hits, "the delivery")
    time.sleep(0.5)
    assert canary.hits == []
    other.close()


def test_a_name_that_leads_inside_only_the_second_time_reaches_nothing(
    make_system: Make, tmp_path: Path, canary: Canary
) -> None:
    names = Names(tmp_path / "names")
    names.lead("rebind.example", "93.184.215.14", "127.0.0.1")
    system = make_system("memory://", env=names.env)
    start_nas(system)
    assert provision(system, "late", f"http://rebind.example:{canary.port}") == 200
    system.wait(lambda: "rebind.example leads to 127.0.0.1" in system.log("nas"), "the delivery to be refused")
    assert names.asked("rebind.example") >= 2
    assert canary.hits == []


def test_the_address_that_was_judged_is_the_one_that_is_connected_to(make_system: Make, tmp_path: Path) -> None:
    judged, other = Canary(), Canary()
    judged.listen()
    other.listen()
    names = Names(tmp_path / "names")
    # The second look-up of a call that made two would lead to another listener.
    names.lead("twice.example", "127.0.0.2", "127.0.0.1")
    system = make_system("memory://", env=names.env)
    start_nas(system, "--allow-private-callbacks")
    assert provision(system, "once", f"http://twice.example:{judged.port}") == 200
    system.wait(lambda: "delivered" in system.log("nas"), "the delivery")
    assert [hit.split()[0] for hit in judged.hits] == ["127.0.0.2"]
    assert names.asked("twice.example") == 1
    judged.close()
    other.close()


def test_one_address_inside_among_those_of_a_name_is_enough_to_refuse_it(
    make_system: Make, tmp_path: Path, canary: Canary
) -> None:
    names = Names(tmp_path / "names")
    names.lead("both.example", "93.184.215.14 127.0.0.1")
    names.lead("inside.example", "127.0.0.1 93.184.215.14")
    system = make_system("memory://", env=names.env)
    start_nas(system)
    for number, host in enumerate(("both.example", "both.example.", "inside.example")):
        assert provision(system, f"job-{number}", f"http://{host}:{canary.port}") == 400
    assert canary.hits == []


# What an agent's machine, or whoever has taken it over, may answer for ever.
ENDLESS = {
    "a body": (b"HTTP/1.1 202 Yes\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"a" * 65_536 + b"\r\n"),
    "a body of a length that is none": (b"HTTP/1.1 202 Yes\r\nContent-Length: 99999999999\r\n\r\n", b"a" * 65_536),
    "a body without an end": (b"HTTP/1.1 503 No\r\n\r\n", b"a" * 65_536),
    "headers": (b"HTTP/1.1 202 Yes\r\n", b"X-More: " + b"a" * 1_000 + b"\r\n"),
    "one header": (b"HTTP/1.1 202 Yes\r\nX-More: ", b"a" * 65_536),
    "a status line": (b"HTTP/1.1 202 ", b"a" * 65_536),
    "no HTTP": (b"", b"\0" * 65_536),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_answer_without_an_end_is_cut_off(make_system: Make, kind: str) -> None:
    first, again = ENDLESS[kind]
    sent: list[int] = []

    def answer_for_ever(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            client.settimeout(60)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
            client.recv(65_536)
            total = 0
            try:
                total += client.send(first)
                while total < MOST_SENT:
                    total += client.send(again)
            except OSError:
                pass  # NAS has ended it.
            sent.append(total)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_for_ever, args=(listener,), daemon=True)
        thread.start()
        system = make_system("memory://")
        start_nas(system, "--allow-private-callbacks")
        assert provision(system, "job", f"http://127.0.0.1:{listener.getsockname()[1]}") == 200
        system.wait(lambda: "fire " in system.log("nas"), "the end of the attempt")
        thread.join(60)
    assert sent
    # What it has not read lies in the buffers of two sockets.
    assert sent[0] < MOST_SENT, "all of it was taken"
    assert "aaaa" not in system.log("nas"), "no answer of a stranger is repeated in the log"


def test_the_http_task_reaches_no_address_inside(make_system: Make, canary: Canary) -> None:
    system = make_system("memory://", provider="")
    system.start_serve()
    system.wait(lambda: system.answers(f"{system.callback_url}/healthz"), "serve answers")
    urls = [
        url.format(port=canary.port) for url in (INSIDE[0], INSIDE[1], INSIDE[3], INSIDE[11], INSIDE[17], INSIDE[23])
    ]
    for number, url in enumerate(urls):
        system.add(f"call-{number}", "in 1s", "http", "--args", json.dumps({"method": "GET", "url": url}))
    for number, url in enumerate(urls):
        job_id = f"call-{number}"
        ended = system.wait(
            lambda job_id=job_id: [r for r in system.store.runs(job_id) if not r.open], f"the end of {url}"
        )
        assert "may not go to" in str(ended[0].error), ended[0].error
    assert canary.hits == []
