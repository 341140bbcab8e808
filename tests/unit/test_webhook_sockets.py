"""The webhook over real sockets, under the server we ship: what a framework's test client cannot show."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from hermes_cron.clock import utc_now
from tests.unit.served import Served, served
from tests.unit.verify.mint import AUDIENCE, ISSUER, good_claims, new_pair

pytestmark = pytest.mark.processes
PAIR = new_pair("ES256", "one")
BODY = b'{"job_id": "a"}'
SCRIPT = f"""
import json
from hermes_cron.transport import open_broker
from hermes_cron.verify.keys import PinnedKeys, read_jwk
from hermes_cron.verify.token import NasVerifier
from hermes_cron.clock import utc_now
from hermes_cron.webapp import make_webapp

def make():
    keys = PinnedKeys([read_jwk(json.loads(sys.argv[1]))])
    verifier = NasVerifier(keys, {AUDIENCE!r}, {ISSUER!r}, require_bound=False, clock=utc_now)
    return make_webapp(verifier, open_broker("memory://", "q"), lambda: None)

server.serve(make, bind="127.0.0.1:0", on_listen=lambda url: print("url", url, flush=True))
"""


@pytest.fixture(scope="module")
def web() -> Iterator[Served]:
    with served(SCRIPT, json.dumps(PAIR.jwk)) as new:
        yield new


def request(body: bytes = BODY, *more: str, token: str | None = "", length: int | None = -1) -> bytes:
    if token == "":
        token = PAIR.sign(good_claims(utc_now()))
    lines = ["POST /api/cron/fire HTTP/1.1", "Host: x", "Connection: close", *more]
    lines += [f"Authorization: Bearer {token}"] if token is not None else []
    lines += [f"Content-Length: {len(body) if length == -1 else length}"] if length is not None else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_202(web: Served) -> None:
    answer = web.ask(request())
    assert status(answer) == 202
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"status": "accepted", "job_id": "a", "dedup_key": None}


def test_every_401_is_the_same_but_for_its_date(web: Served) -> None:
    faults = [
        request(token=None), request(token="garbage"), request(token=PAIR.sign(good_claims(utc_now(), purpose="chat"))),
        request(b"bad", token="garbage"), request(b"x" * 20_000, token="garbage"), request(b"x", token=None, length=9),
        request(token="x" * 8_192),
    ]  # fmt: skip
    answers = {
        b"\r\n".join(line for line in web.ask(fault).split(b"\r\n") if not line.startswith(b"Date:"))
        for fault in faults
    }
    assert len(answers) == 1
    assert status(answers.pop()) == 401


def test_takes_a_chunked_body(web: Served) -> None:
    chunks = b"5\r\n" + BODY[:5] + b"\r\na\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"
    assert status(web.ask(request(chunks, "Transfer-Encoding: chunked", length=None))) == 202


def test_413_for_a_chunked_body_of_too_many_bytes(web: Served) -> None:
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    answer = web.ask(request(chunk * 2 + b"0\r\n\r\n", "Transfer-Encoding: chunked", length=None))
    assert status(answer) == 413


def test_400_for_a_body_shorter_than_its_length(web: Served) -> None:
    assert status(web.ask(request(length=100))) == 400


def test_400_without_a_body(web: Served) -> None:
    assert status(web.ask(request(b"", length=None))) == 400


def test_413_before_the_body_is_sent(web: Served) -> None:
    assert status(web.ask(request(b"", length=10**12))) == 413


def test_two_authorization_headers_never_pass(web: Served) -> None:
    token = PAIR.sign(good_claims(utc_now()))
    for other in ("garbage", token):
        assert status(web.ask(request(BODY, f"Authorization: Bearer {other}", token=token))) == 401


@pytest.mark.parametrize(
    "header",
    ["Content-Length: 15", "Transfer-Encoding: chunked", "Transfer-Encoding: identity, chunked", "Bad Header: x",
     "Content-Length: x"],
)  # fmt: skip
def test_refuses_what_two_servers_could_read_in_two_ways(web: Served, header: str) -> None:
    assert 400 <= status(web.ask(request(BODY, header))) < 502


@pytest.mark.parametrize("header", ["Script-Name: /api", "SCRIPT_NAME: /api", "X-Forwarded-Prefix: /api"])
def test_a_client_cannot_turn_one_route_into_another(web: Served, header: str) -> None:
    asked = request(BODY, header).replace(b"/api/cron/fire", b"/api/api/cron/fire", 1)
    assert status(web.ask(asked)) in (400, 403, 404)


def test_405(web: Served) -> None:
    assert status(web.ask(request().replace(b"POST", b"GET", 1))) == 405


def test_lives_on_after_all_of_this(web: Served) -> None:
    assert status(web.ask(request())) == 202
    assert status(web.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == 200
