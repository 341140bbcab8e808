"""Hostile text in every place where a stranger can put some: each event stays one line, without a raw control byte."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_cron import contract
from hermes_cron.clock import utc_now
from tests.integration.system import System
from tests.security.front import BODY, PAIR, Front
from tests.security.test_queue import put
from tests.unit.verify.mint import good_claims, segment

pytestmark = [pytest.mark.processes, pytest.mark.redis, pytest.mark.timeout(240)]
DEPLOY = Path(__file__).parents[2] / "deploy"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
NASTY = (
    '\x1b[2J\x1b]0;owned\x07', 'a\r\n{"level": "info", "message": "forged"}', "a\nforged line", "\u2028forged\u2029",
    "\u202eforged\u2066", "\x9b31m", "\x00", "%0d%0aforged", "%1b[2J", "\ud800", "x" * 3_000 + "\x1b",
)  # fmt: skip


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def hostile(front: Front, nasty: str) -> Iterator[bytes]:
    """Requests with this text in all their places."""
    head = front.request().removesuffix(BODY)
    kid = PAIR.sign(good_claims(utc_now()), {"kid": nasty}) if nasty != "\ud800" else "x"
    body = json.dumps({"job_id": nasty, "fire_at": nasty}).encode()
    yield front.request(token=kid)
    yield front.request(token=f"{segment(b'{' + json.dumps(nasty).encode() + b'}')}.e30.x")
    yield front.request(body)
    yield front.request(b'{"job_id": "' + raw(nasty) + b'"}', token=front.token(body_sha256=...))
    yield head.replace(b"localhost", raw(nasty)) + BODY
    yield head.replace(b"/api/cron/fire", b"/" + raw(nasty)) + BODY
    yield head.replace(b"/api/cron/fire", b"/api/cron/jobs/" + raw(nasty)) + BODY
    yield head.replace(b"/api/cron/fire", b"/api/cron/fire?" + raw(nasty)) + BODY
    yield head.replace(b"POST", raw(nasty)) + BODY
    yield head.replace(b"HTTP/1.1", raw(nasty)) + BODY
    for header in (b"User-Agent: %b", b"Authorization: %b", b"Content-Type: %b", b"Content-Encoding: %b", b"X-%b: a",
                   b"Expect: %b", b"Transfer-Encoding: %b", b"X-Request-Id: %b"):  # fmt: skip
        yield head[:-2] + header % raw(nasty) + b"\r\n\r\n" + BODY


def check_lines(text: str, greetings: tuple[str, ...] = ()) -> int:
    """How many events there are; each is one line of JSON."""
    lines = [line for line in text.split("\n") if line and not line.startswith(greetings)]
    for line in lines:
        assert isinstance(json.loads(line), dict), line
    assert CONTROL.search(text) is None
    assert "\nforged" not in text
    return len(lines)


@pytest.fixture
def talkative(tmp_path: Path, redis_url: str) -> Iterator[Front]:
    """The web at debug level."""
    new = Front(tmp_path, redis_url, HERMES_CRON_LOG_LEVEL="debug")
    try:
        new.start()
        yield new
    finally:
        new.close()


def test_no_request_forges_a_line_or_turns_a_terminal(talkative: Front) -> None:
    for nasty in NASTY:
        for request in hostile(talkative, nasty):
            answer = talkative.ask(request)
            assert not re.search(rb"HTTP/1.1 50[^1]", answer), request
    talkative.web.terminate()
    talkative.web.wait(20)
    assert check_lines(talkative.log(), ("hermes-cron web at ",)) > 50


def test_no_request_forges_a_line_under_plain_gunicorn_with_the_shipped_file(tmp_path: Path, redis_url: str) -> None:
    front = Front(tmp_path, redis_url, HERMES_CRON_LOG_LEVEL="debug")
    try:
        fd = front.system.web_socket.fileno()
        with (tmp_path / "web0.log").open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", str(DEPLOY / "gunicorn.conf.py"), "--bind", f"fd://{fd}"],
                stdout=out, stderr=out, env=front.system.environment, pass_fds=(fd,), start_new_session=True,
            )  # fmt: skip
        front.system.processes.append(process)
        front.system.wait(lambda: front.system.answers(f"{front.system.callback_url}/readyz"), "gunicorn answers")
        for nasty in NASTY:
            for request in hostile(front, nasty):
                front.ask(request)
        process.terminate()
        process.wait(20)
        assert CONTROL.search(front.log()) is None
        assert "\nforged" not in front.log()
        # gunicorn's own lines have their own form here; `hermes-cron web` gives them ours.
        lines = [line for line in front.log().splitlines() if not re.match(r"\[[-0-9: +]+\] \[\d+\] \[[A-Z]+\] ", line)]
        assert check_lines("\n".join(lines)) > 50
    finally:
        front.close()


def test_neither_nas_nor_a_worker_lets_a_line_be_forged(make_system: object, redis_url: str, tmp_path: Path) -> None:
    system: System = make_system(redis_url, env={"HERMES_CRON_LOG_LEVEL": "debug"})  # type: ignore[operator]  # a fixture.
    system.start_nas()
    system.start_worker()
    token = system.token_file.read_text().strip()
    for nasty in NASTY:
        body = json.dumps({
            "job_id": nasty, "fire_at": nasty, "agent_callback_url": f"http://{nasty}", "dedup_key": nasty,
        }).encode()  # fmt: skip
        for path in (contract.PROVISION_PATH, contract.CANCEL_PATH, contract.RELAY_PATH, contract.BATCH_PATH):
            for bearer in (token, "x"):
                headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
                answer = system.outbound.request("POST", system.nas_url + path, headers=headers, body=body, deadline=5)
                assert answer.status in (200, 400, 401), path
        put(system, body)
        put(system, json.dumps({"v": nasty, "job_id": nasty, "kind": nasty, "trace": {nasty: nasty}}).encode())
        put(system, raw(nasty))
    system.wait(lambda: system.log("worker0").count("is rejected") >= 3 * len(NASTY), "the worker to have looked")
    for process in system.processes:
        process.terminate()
        process.wait(40)
    assert check_lines(system.log("nas"), ("NAS http",)) >= 0
    assert check_lines(system.log("worker0"), ("hermes-cron worker: ",)) > 30
