"""API, dashboard and probes as shipped, two processes: raw sockets, with keys and without, and behind nginx."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from hermes_cron.apikeys import add_key
from tests.chaos.servers import free_port
from tests.integration.system import System
from tests.integration.test_load_balancer import nginx
from tests.security.front import BODY, Front, receive, statuses

pytestmark = [pytest.mark.processes, pytest.mark.redis, pytest.mark.timeout(240)]
OFFICE = ("/", "/jobs", "/jobs/tide", "/runs", "/runs/x", "/openapi.json", "/api/cron/jobs", "/api/cron/jobs/tide",
          "/api/cron/runs", "/api/cron/arms", "/api/cron/stop", "/nothing", "/api/cron/nothing")  # fmt: skip
OPEN = ("/healthz", "/readyz", "/metrics", "/api/cron/load")
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "FOO")
PROVIDER = "HERMES_CRON_CRON__PROVIDER"
Heads = dict[str, str]


class Office:
    """The web without a provider of its own, and what is asked of it in plain bytes."""

    def __init__(self, front: Front, keys: dict[str, str]) -> None:
        self.front = front
        self.keys = keys

    def ask(
        self, method: str, path: str, *headers: str, key: str = "", host: str = "localhost", body: bytes = b"",
        address: tuple[str, int] | None = None,
    ) -> tuple[int, Heads, bytes]:  # fmt: skip
        """The status, the headers and the body of the one answer."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
        lines += [f"Authorization: Bearer {self.keys.get(key, key)}"] if key else []
        lines += [f"Content-Length: {len(body)}"] if body or method in ("POST", "PUT", "PATCH") else []
        answer = self.front.ask("\r\n".join([*lines, "", ""]).encode("latin-1") + body, address=address)
        [status] = statuses(answer)
        head, _, rest = answer.partition(b"\r\n\r\n")
        named = (line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:])
        return status, {name.lower(): value for name, _, value in named}, rest

    def change(self, *headers: str, method: str = "POST", path: str = "/api/cron/stop", **more: Any) -> int:
        """The status of what would stop everything."""
        return self.ask(method, path, *headers, **more)[0]


@contextmanager
def office(folder: Path, redis_url: str, **env: str) -> Iterator[Office]:
    file = folder / "api-keys"
    keys = {"read": add_key(file, "looker", ["read"]), "write": add_key(file, "operator", ["write"])}
    front = Front(folder, redis_url, **{PROVIDER: ""}, **{k: v.format(file) for k, v in env.items()})
    try:
        front.start()
        yield Office(front, keys)
    finally:
        front.close()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Office]:
    """With API keys."""
    with office(tmp_path_factory.mktemp("keyed"), redis_url, HERMES_CRON_WEB__API_KEYS_FILE="{}") as new:
        yield new


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Office]:
    """Without: for this machine only."""
    with office(tmp_path_factory.mktemp("keyless"), redis_url) as new:
        yield new


@pytest.fixture(scope="module")
def proxied(keyless: Office, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The shipped nginx before the same web."""
    port = free_port()
    upstream = keyless.front.address[1]
    with nginx(tmp_path_factory.mktemp("nginx"), port, [upstream, upstream]):
        url = f"http://127.0.0.1:{port}/healthz"
        keyless.front.system.wait(lambda: keyless.front.system.answers(url), "nginx answers")
        yield "127.0.0.1", port


def test_a_stranger_is_told_the_same_whatever_he_asks_for(keyed: Office) -> None:
    """401 comes before 404, 405, 400, 413 and 415."""
    answers = set()
    wrong = ("", "hck_" + "x" * 43, "x", f"{keyed.keys['write']}x", f"{keyed.keys['write']}, {keyed.keys['write']}")
    for method in METHODS:
        for number, path in enumerate(OFFICE):
            status, headers, body = keyed.ask(method, path, key=wrong[number % len(wrong)])
            headers.pop("date")
            assert (status, headers.pop("content-length")) == (401, "76")
            answers.add((*sorted(headers.items()), body if method != "HEAD" else None))
    for body, kind in ((b"{", "application/json"), (b"x" * 300_000, "application/json"), (b"a=b", "text/plain")):
        status, headers, text = keyed.ask("POST", "/api/cron/jobs", f"Content-Type: {kind}", body=body)
        headers.pop("date")
        headers.pop("content-length")
        assert status == 401
        answers.add((*sorted(headers.items()), text))
    assert len(answers) == 2, "one, and the same without its body for HEAD"
    twice = f"Authorization: Bearer {keyed.keys['write']}"
    assert keyed.ask("GET", "/api/cron/jobs", twice, key="write")[0] == 401


def test_a_key_opens_its_scope_at_both_processes_and_every_method_has_its_answer(keyed: Office) -> None:
    for path in OFFICE[:2] + OFFICE[3:4] + OFFICE[5:7]:
        for key in ("read", "write"):
            assert {keyed.ask("GET", path, key=key)[0] for _ in range(4)} == {200}, path
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "FOO"):
        assert keyed.ask(method, "/api/cron/stop", key="read")[0] == 403
    assert json.loads(keyed.ask("GET", "/api/cron/stop", key="read")[2])["stopped"] is False
    assert [keyed.ask(method, "/openapi.json", key="write")[0] for method in ("TRACE", "CONNECT", "PUT")] == [405] * 3


@pytest.mark.parametrize(
    "path", [*OPEN, "/", "/jobs", "/openapi.json", "/api/cron/jobs", "/static/dashboard.js", "/nope"]
)
def test_head_is_get_without_its_body(keyless: Office, path: str) -> None:
    status, headers, _body = keyless.ask("GET", path)
    found, heads, rest = keyless.ask("HEAD", path)
    assert (found, rest) == (status, b"")
    assert heads.keys() == headers.keys()
    if path != "/metrics":
        assert heads["content-length"] == headers["content-length"]
    # A connection that stays open is not out of step afterwards.
    with keyless.front.connect() as sock:
        sock.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 2)
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answers = receive(sock)
    assert statuses(answers) == [status, status, 200]
    assert answers.endswith(b'{"status": "ok"}')


def test_options_says_what_there_is_and_lets_no_other_origin_in(keyless: Office) -> None:
    for path in (*OPEN, *OFFICE[:2], "/api/cron/jobs", "/api/cron/fire"):
        for method in ("OPTIONS", "GET", "POST"):
            asked = ("Origin: https://evil.example", "Access-Control-Request-Method: POST",
                     "Access-Control-Request-Headers: authorization,content-type")  # fmt: skip
            status, headers, body = keyless.ask(method, path, *asked)
            assert not [name for name in headers if name.startswith("access-control-")], (method, path)
            assert status == 200 or method != "OPTIONS"
            assert body == b"" or method != "OPTIONS"


NAMES = ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "localhost:8080@evil.example", "127.0.0.2",
         "0.0.0.0", "[::]", "localhost.", "", "localhost, evil.example", "evil.example#localhost")  # fmt: skip


@pytest.mark.parametrize("host", NAMES)
def test_no_name_that_was_pointed_here_gets_in(keyless: Office, host: str) -> None:
    for path in (*OFFICE, "/static/dashboard.js"):
        for method in ("GET", "HEAD", "POST"):
            assert keyless.ask(method, path, host=host)[0] in (400, 421), (method, path)
    # The name in the request line is not the one that is judged, and does not hide it.
    assert keyless.ask("GET", "http://localhost/api/cron/jobs", host=host)[0] in (400, 421)


@pytest.mark.parametrize("headers", [
    ("Origin: https://evil.example",), ("Origin: null",), ("Origin: http://localhost:1",),
    ("Sec-Fetch-Site: cross-site",), ("Sec-Fetch-Site: same-site",), ("Origin: http://localhost.evil.example",),
    ("Origin: http://localhost", "Sec-Fetch-Site: cross-site"),
    ("Origin: http://localhost", "Origin: https://evil.example"),
    ("Origin: http://LOCALHOST@evil.example",),
])  # fmt: skip
def test_no_page_of_another_origin_changes_anything_at_either_process(
    keyless: Office, headers: tuple[str, ...]
) -> None:
    kind = "Content-Type: application/json"
    for method, path in (("POST", "/api/cron/stop"), ("POST", "/api/cron/jobs"), ("DELETE", "/api/cron/jobs/tide"),
                         ("PUT", "/api/cron/jobs/tide"), ("PATCH", "/api/cron/jobs/tide")):  # fmt: skip
        assert keyless.change(kind, *headers, method=method, path=path) == 403, (method, path)
    assert json.loads(keyless.ask("GET", "/api/cron/stop")[2])["stopped"] is False


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                                  "text/plain; application/json", "application/jsonx", ""])  # fmt: skip
def test_no_form_changes_anything_at_either_process(keyless: Office, kind: str) -> None:
    headers = (f"Content-Type: {kind}",) if kind else ()
    for _ in range(4):
        assert keyless.change(*headers, "Origin: http://localhost", body=b'{"stopped": true}') == 415
    assert json.loads(keyless.ask("GET", "/api/cron/stop")[2])["stopped"] is False


def test_every_answer_of_the_office_tells_the_browser_what_a_page_may_do(keyed: Office, keyless: Office) -> None:
    asked = [keyless.ask(method, path, "Accept: text/html") for method in METHODS for path in OFFICE]
    asked += [keyless.ask("GET", path, host="evil.example") for path in OFFICE]
    asked += [keyed.ask("GET", path, "Accept: text/html") for path in (*OFFICE, "/static/dashboard.css")]
    asked += [keyed.ask("GET", path, "Accept: text/html", key="read") for path in OFFICE]
    assert {status for status, *_ in asked} >= {200, 400, 401, 404, 405, 421}
    for status, headers, body in asked:
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
            "base-uri": "'none'", "form-action": "'self'", "frame-ancestors": "'none'",
        }, status  # fmt: skip
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert headers["cache-control"] in ("no-store", "no-cache")
        assert "set-cookie" not in headers
        page = body.decode()
        assert not re.search(r"(?i)<script(?![^>]* src=)|<style|\son\w+\s*=|javascript:|\sstyle=", page), page[:400]


NASTY = "</script><img src=x onerror=alert(1)>{{7*7}}'\"><svg/onload=alert(1)>"
APP = """
from hermes_cron import HermesCron

app = HermesCron("nasty")

@app.task(name="fail_with")
def fail_with(text):
    raise RuntimeError(text)
"""


def test_what_others_wrote_is_shown_as_text(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "nasty_app.py").write_text(APP)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    with office(tmp_path, redis_url, HERMES_CRON_APP="nasty_app:app", PYTHONPATH=path) as here:
        order = {"id": "xss", "schedule": "in 1s", "task": "fail_with", "args": {"text": NASTY}}
        body, kind = json.dumps(order).encode(), "Content-Type: application/json"
        assert here.ask("POST", "/api/cron/jobs", kind, body=body)[0] == 201
        system = here.front.system
        system.start_worker()
        run = system.wait(lambda: [run for run in system.store.runs("xss") if not run.open], "the run's end")[0]
        assert NASTY in str(run.error)
        asked = quote(NASTY)
        pages = {
            where: here.ask("GET", where, "Accept: text/html")
            for where in ("/", "/jobs", "/jobs/xss", "/runs", f"/runs/{run.id}", f"/jobs/{asked}", f"/{asked}",
                          f"/runs/{asked}", f"/runs?job={asked}", f"/runs?state={asked}", f"/runs?cursor={asked}")
        }  # fmt: skip
        for where, (status, headers, page) in pages.items():
            assert status < 500, where
            assert headers["content-type"].startswith("text/html"), where
            assert not re.search(rb"(?i)<img|<svg|</script><", page), where
        assert b"&lt;img src=x onerror=alert(1)&gt;{{7*7}}" in pages[f"/runs/{run.id}"][2]


PATHS = (
    "/static/../pages.py", "/static/%2e%2e/pages.py", "/static/..%2fpages.py", "/static//etc/passwd", "/static/%00",
    "/static/dashboard.js/", "/static/", "/static", "/..;/jobs", "/static/....//pages.py",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_to_a_file_of_ours(keyless: Office, keyed: Office, path: str) -> None:
    status, _, body = keyless.ask("GET", path)
    assert status in (400, 404)
    assert b"import" not in body
    assert keyed.ask("GET", path)[0] in (400, 401)


def test_behind_the_shipped_proxy_nothing_is_from_this_machine(keyless: Office, proxied: tuple[str, int]) -> None:
    claims = ((), ("X-Forwarded-For: 127.0.0.1",), ("X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: ::1"),
              ("X_Forwarded_For: 127.0.0.1",), ("X-Real-IP: 127.0.0.1",), ("Forwarded: for=127.0.0.1",),
              ("REMOTE_ADDR: 127.0.0.1",), ("Connection: X-Forwarded-For",))  # fmt: skip
    for headers in claims:
        for path in OFFICE:
            assert keyless.ask("GET", path, *headers, address=proxied)[0] == 403, (headers, path)
        assert keyless.change("Content-Type: application/json", *headers, address=proxied) == 403
    assert keyless.ask("GET", "/healthz", address=proxied)[0] == 200
    told = keyless.ask("GET", "/metrics", address=proxied)[2]
    assert b'reason="' not in told or b'reason="untold"' in told


SMUGGLED = b"POST /api/cron/fire HTTP/1.1\r\nHost: localhost\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SHAPES = {
    "length, then chunks": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks, then length": b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n",
    "chunks, hidden": b"Content-Length: %d\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks, by a tab": b"Content-Length: %d\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
    "chunks, by a folded line": b"Content-Length: %d\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "chunks, by a space": b"Content-Length: %d\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunks, by an underscore": b"Content-Length: %d\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n",
    "a length of a GET": b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n",
    "a chunk that ends early": b"Transfer-Encoding: chunked\r\nX-Length: %d\r\n\r\n0\r\nX: ",
    "a chunk of a long number": b"Transfer-Encoding: chunked\r\nX-Length: %d\r\n\r\n00000000000000000\r\n\r\n",
    "an upgrade": b"Upgrade: h2c\r\nHTTP2-Settings: x\r\nConnection: Upgrade\r\nContent-Length: %d\r\n\r\n",
    "a newline in the target": b"Content-Length: %d\r\nX: a\rY: b\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("way", ["proxied", "bare"])
def test_no_request_is_smuggled_within_another(keyless: Office, proxied: tuple[str, int], name: str, way: str) -> None:
    """What hides in a request is at most one more that its sender could have sent, and never another's."""
    front, address = keyless.front, proxied if way == "proxied" else keyless.front.address
    inner = front.request(BODY).replace(b"Connection: close\r\n", b"")
    assert inner.startswith(SMUGGLED)
    for method in (b"POST", b"GET"):
        before = front.queued()
        raw = method + b" /healthz HTTP/1.1\r\nHost: localhost\r\n" + SHAPES[name] % (len(inner) + 5) + inner + LAST
        with front.connect(address) as sock:
            sock.sendall(raw)
            # Whoever asks next, on a connection of his own, gets his own answer, whatever the proxy keeps open.
            for _ in range(4):
                status, _, body = keyless.ask("GET", "/healthz", address=proxied)
                assert (status, body) == (200, b'{"status": "ok"}')
                assert keyless.ask("GET", "/nothing", address=proxied)[0] == 403
            # A second request on the same connection is the sender's own: it is judged, and answered to him.
            if way == "bare":
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)  # A proxy would take it for an abort.
            answers = receive(sock)
        assert front.queued() - before == statuses(answers).count(202), "a fire was queued that nobody was answered for"


@pytest.mark.parametrize("key", ["PORTAL_URL", "EXPECTED_AUDIENCE", "NAS_JWKS_URL"])
@pytest.mark.parametrize("text", ["", "  "])
def test_i3_with_a_blank_setting_the_web_does_not_start(
    make_system: Callable[..., System], redis_url: str, key: str, text: str
) -> None:
    system = make_system(redis_url, env={f"HERMES_CRON_CRON__CHRONOS__{key}": text})
    done = system.cli("web", "--bind", "127.0.0.1:0", "--workers", "2")
    assert done.returncode == 78
    assert f"cron.chronos.{key.lower()}" in done.stderr
    assert "Traceback" not in done.stderr
