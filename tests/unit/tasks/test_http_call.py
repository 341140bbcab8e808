"""What a call sends, what is kept of its answer, and what is said of one that failed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from hermes_cron.clock import utc_now
from hermes_cron.errors import AddressRefused, OutboundError, TaskFailed, TaskInvalid
from hermes_cron.execution import MAX_RESULT_BYTES
from hermes_cron.run import Run
from hermes_cron.settings import TaskSettings
from hermes_cron.tasks import box_tasks
from hermes_cron.tasks.http_call import HttpCall

http = HttpCall(allow_private=True)


def failure(run: Run, *args: Any, **given: Any) -> str:
    with pytest.raises((TaskFailed, TaskInvalid, OutboundError)) as caught:
        http(run, *args, **given)
    return str(caught.value)


def test_it_gives_status_and_body(run: Run, target: Any) -> None:
    target.body, target.status = "grüß".encode(), 201
    assert http(run, target.url + "/a?b=c") == {"status": 201, "body": "grüß"}
    ((method, path, headers, body),) = target.asked
    assert (method, path, body) == ("GET", "/a?b=c", b"")
    assert headers["user-agent"].startswith("hermes-cron/")


def test_it_sends_json_and_headers_and_says_which_run_calls(run: Run, target: Any) -> None:
    given = {"content-type": "application/vnd.x+json", "Authorization": "Bearer x", "hermes-cron-fence": "99"}
    http(run, target.url, method="post", json={"a": [1, None]}, headers=given)
    ((method, _, headers, body),) = target.asked
    assert (method, json.loads(body)) == ("POST", {"a": [1, None]})
    names = ("content-type", "authorization", "hermes-cron-job", "hermes-cron-fire", "hermes-cron-fence")
    assert [headers[name] for name in names] == ["application/vnd.x+json", "Bearer x", "backup", run.key, "7"]
    assert "idempotency-key" not in headers


def test_an_answer_that_is_no_success_is_told_without_the_query(run: Run, target: Any) -> None:
    target.status, target.body = 503, b"over\x1b[0m\nloaded " + b"x" * 9000
    said = failure(run, target.url + "/a?token=hunter2")
    assert said.startswith(f"GET {target.url}/a answered 503: over\ufffd[0m loaded xxx")
    assert len(said) < 400
    target.status, target.headers = 302, {"Location": "http://169.254.169.254/"}
    assert failure(run, target.url).endswith("Redirects are not followed; give the URL where it ends.")
    assert len(target.asked) == 2


def test_it_calls_no_private_address_unless_told_to(run: Run, target: Any) -> None:
    task = box_tasks(TaskSettings())["http"]
    for url in (
        target.url,
        target.url.replace("127.0.0.1", "localhost"),
        target.url.replace("127.0.0.1", "[::ffff:7f00:1]"),
    ):
        with pytest.raises(AddressRefused):
            task(run, url)
    assert target.asked == []


@pytest.mark.parametrize(
    ("url", "given", "sentence"),
    [
        ("file:///etc/passwd", {}, "url must be an http:// or https:// URL"),
        ("ftp://h/", {}, "url must be an http"),
        ("http://me:hunter2@h/", {}, "url must be a URL without credentials"),
        (7, {}, "url must be an http"),
        ("http://h/", {"json": [float("nan")]}, "json must be what JSON can hold"),
        ("http://h/", {"json": {1, 2}}, "json must be what JSON can hold"),
        ("http://h/", {"method": "CONNECT"}, "method must be one of GET"),
        ("http://h/", {"method": None}, "method must be one of GET"),
        ("http://h/", {"headers": ["a"]}, "headers must be texts by name"),
        ("http://h/", {"headers": {"Host": "x"}}, "headers cannot hold 'Host'"),
        ("http://h/", {"headers": {"transfer-encoding": "x"}}, "headers cannot hold"),
        ("http://h/", {"headers": {"a b": "x"}}, "headers cannot hold"),
        ("http://h/", {"headers": {"A": "x\r\nB: y"}}, "The header A must be one line"),
        ("http://h/", {"headers": {"A": 1}}, "The header A must be one line"),
        ("http://h/", {"timeout": 0}, "timeout must be seconds"),
        ("http://h/", {"timeout": "5"}, "timeout must be seconds"),
        ("http://h/", {"timeout": float("nan")}, "timeout must be seconds"),
        ("http://h/", {"timeout": 10**400}, "timeout must be seconds"),
    ],
)
def test_it_refuses_what_cannot_be_called(run: Run, url: Any, given: dict[str, Any], sentence: str) -> None:
    said = failure(run, url, **given)
    assert said.startswith(sentence)
    assert "hunter2" not in said


@pytest.mark.parametrize("char", ["x", "\0", "\u00e4"])
def test_what_it_keeps_fits_into_a_result(run: Run, target: Any, char: str) -> None:
    target.body = char.encode() * 100_000
    answer = http(run, target.url)
    assert str(answer["body"]).endswith(f"{char}\n[the rest is left out]")
    assert len(json.dumps(answer, ensure_ascii=False).encode()) <= MAX_RESULT_BYTES


def test_nobody_there_is_told(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert failure(run, f"http://127.0.0.1:{taken.getsockname()[1]}/").endswith("Connection refused.")


def test_it_waits_no_longer_than_its_timeout_or_its_runs_deadline(make_run: Callable[..., Run], target: Any) -> None:
    target.gate = threading.Event()
    started = time.monotonic()
    with pytest.raises(OutboundError) as caught:
        http(make_run(), target.url, timeout=2)
    assert caught.value.sent
    soon = utc_now() + timedelta(seconds=2)
    assert failure(make_run(deadline=soon), target.url).startswith("GET http://127.0.0.1")
    assert failure(make_run(deadline=soon - timedelta(minutes=9)), target.url) == "the run's time is up"
    assert time.monotonic() - started < 50


def test_it_does_not_wait_for_an_answer_when_its_run_is_stopped(make_run: Callable[..., Run], target: Any) -> None:
    target.gate = threading.Event()
    stop = make_run(lambda: bool(target.asked))
    started = time.monotonic()
    assert failure(stop, target.url + "/?k=hunter2") == f"stopped while GET {target.url}/ was on its way"
    assert time.monotonic() - started < 50
