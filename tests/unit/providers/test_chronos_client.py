"""The calls themselves, the token, and what an answer means."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hermes_cron.arm import Order
from hermes_cron.clock import monotonic
from hermes_cron.errors import NasError, NasRefused
from hermes_cron.outbound import Answer
from hermes_cron.providers.chronos import answers
from hermes_cron.providers.chronos.answers import NasLacks
from hermes_cron.providers.chronos.backoff import Backoff
from hermes_cron.providers.chronos.client import NasClient
from hermes_cron.providers.chronos.standing import Standing
from hermes_cron.providers.chronos.token import CommandToken, FileToken, StaticToken, TokenSource
from hermes_cron.settings import Secret
from tests.unit.providers.nas import Nas

ORDER = Order("a", "t", None, None)


def client(nas: Nas, token: TokenSource | None = None) -> NasClient:
    source = token or StaticToken(Secret("good"))
    return NasClient(nas.url, "https://agent.example/", source, Standing(source.stamp))


def answered(status: int, body: bytes = b"{}", **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def test_a_token_in_a_file_is_read_again_when_it_changes(nas: Nas, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("good\n")
    source = FileToken(file)
    one = client(nas, source)
    one.do(ORDER)
    nas.token = "better"
    file.write_text("better")
    one.do(ORDER)
    assert [call.token for call in nas.calls] == ["good", "better"]


def test_a_token_in_a_file_is_read_again_on_401(nas: Nas, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("good")
    kept = file.stat()
    source = FileToken(file)
    one = client(nas, source)
    one.do(ORDER)
    # Changed in the same instant, to the same size: only NAS tells.
    nas.token = "best"
    with file.open("r+") as opened:
        opened.write("best")
    os.utime(file, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    one.do(ORDER)
    assert [call.token for call in nas.calls] == ["good", "good", "best"]


def test_a_token_that_stays_refused_is_tried_once_a_minute(nas: Nas) -> None:
    nas.token = "other"
    one = client(nas)
    for _ in range(3):
        with pytest.raises(NasRefused) as caught:
            one.do(ORDER)
        assert caught.value.reason == "unauthorized"
    assert len(nas.calls) == 1


def test_a_command_is_asked_once_and_again_on_401(nas: Nas, tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = tmp_path / "token.sh"
    script.write_text(f"#!/bin/sh\necho x >> {count}\ncat {tmp_path}/current\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "current").write_text("good\n")
    one = client(nas, CommandToken(str(script)))
    one.do(ORDER)
    one.do(ORDER)
    assert count.read_text() == "x\n"
    (tmp_path / "current").write_text("new\n")
    nas.token = "new"
    one.do(ORDER)
    assert count.read_text() == "x\nx\n"


@pytest.mark.parametrize("command", ["sleep 100", "sh -c 'sleep 100 & wait'", "false", "no-such-program", "echo", "'"])
def test_a_command_that_gives_no_token_is_an_error_in_time(nas: Nas, command: str) -> None:
    began = monotonic()
    with pytest.raises(NasError) as caught:
        client(nas, CommandToken(command)).do(ORDER, 0.4)
    assert not caught.value.sent
    assert monotonic() - began < 30
    assert nas.calls == []


def test_a_command_without_an_end_fills_no_memory() -> None:
    code = """
import resource, sys
from hermes_cron.errors import NasError
from hermes_cron.providers.chronos.token import CommandToken
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
try:
    CommandToken("yes").read(60)
except NasError as error:
    print(error.message)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "access_token_command" in said.stdout


def test_nobody_waits_longer_than_he_may_for_another_who_asks_the_command(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    token = CommandToken(f"cat {pipe}")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(token.read, 120)
        with pipe.open("w") as writer:
            second = pool.submit(token.read, 0.2)
            done = wait([second], 30).done
            writer.write("good")
        assert first.result(60) == "good"
        assert done == {second}
        assert isinstance(second.exception(), NasError)


@pytest.mark.parametrize("text", ["", " \n", "two\nlines", "spaced out", "ünicode", "nul\0"])
def test_a_token_that_cannot_be_sent_is_never_sent(nas: Nas, text: str) -> None:
    with pytest.raises(NasError) as caught:
        client(nas, StaticToken(Secret(text))).do(ORDER)
    assert text.strip() == "" or text not in str(caught.value)
    assert nas.calls == []


def test_it_never_shows_the_token(nas: Nas, caplog: pytest.LogCaptureFixture) -> None:
    nas.misbehave = lambda call: (500, {"error": "x"}, {})
    caplog.set_level("DEBUG")
    with pytest.raises(NasError) as caught:
        client(nas, StaticToken(Secret("s3cr3t"))).do(ORDER)
    assert "s3cr3t" not in caplog.text + str(caught.value) + repr(caught.value)


def test_it_says_who_it_is_and_what_it_takes(nas: Nas) -> None:
    one = client(Nas(url=nas.url + "/"))
    one.do(Order("a", "t", datetime(2031, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)))
    (call,) = nas.calls
    assert call.path == "/api/agent-cron/provision"
    assert call.body["fire_at"] == "2031-01-01T00:00:00.500000+00:00"
    assert call.body["dedup_key"] == "a:2031-01-01T00:00:00.500000+00:00"
    assert call.body["agent_callback_url"] == "https://agent.example"
    assert set(call.body) == {"job_id", "fire_at", "agent_callback_url", "dedup_key"}


@pytest.mark.parametrize(
    ("answer", "kind", "sent", "after"),
    [
        (answered(400), NasRefused, False, None),
        (answered(401), NasRefused, False, None),
        (answered(403, b'{"error":"invalid_client"}'), NasRefused, False, None),
        (answered(403, b"<html>"), NasError, False, None),
        (answered(404), NasLacks, False, None),
        (answered(429, retry_after="7"), NasError, False, 7.0),
        (answered(429, b'{"error":"over_quota"}', retry_after="7"), NasRefused, False, 60.0),
        (answered(500, retry_after="7"), NasError, False, None),
        (answered(502), NasError, True, None),
        (answered(503, retry_after="junk"), NasError, False, None),
        (answered(503, retry_after="Wed, 21 Oct 2015 07:28:00 +99999999999999999999"), NasError, False, None),
        (answered(504), NasError, True, None),
        (answered(301), NasError, False, None),
    ],
)
def test_an_answer_stands_for_an_error(answer: Answer, kind: type, sent: bool, after: float | None) -> None:
    error = answers.error_in(answer, "/x")
    assert error is not None
    assert (type(error), error.sent, error.retry_after) == (kind, sent, after)


def test_a_date_to_retry_after_is_understood() -> None:
    error = answers.error_in(answered(503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"), "/x")
    assert error
    assert error.retry_after == 0.0


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ({"schedule_id": "s"}, None),
        ({"ok": True}, None),
        ({"status": 200}, None),
        ({"ok": False}, NasRefused),
        ({"error": "no"}, NasRefused),
        ({"status": 400, "error": "no"}, NasRefused),
        ({"status": 503}, NasError),
        ({"status": 429, "error": "over_quota"}, NasRefused),
        ({"status": 429, "error": "slow_down"}, NasError),
    ],
)
def test_a_batch_tells_of_each_of_its_items(item: dict[str, object], kind: type | None) -> None:
    body = json.dumps({"provision": [{"job_id": "a", **item}, 7], "cancel": [{"job_id": "zzz"}]}).encode()
    found = answers.items_in(answered(200, body), {"a", "b"})
    assert set(found) == {"a"}
    assert (None if found["a"] is None else type(found["a"])) == kind


_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from(["a", "2031-01-01T00:00:00Z", "over_quota", 200, 429, 10**400])
)  # fmt: skip
_NAMES = st.sampled_from(
    ["armed", "next", "job_id", "fire_at", "provision", "cancel", "status", "error", "code", "ok", "batch",
     "max_horizon_s", "precision_s"]
)  # fmt: skip
_SAID = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4), max_leaves=12
)


@example(said={"provision": [{"job_id": []}]}, status=200, after="")
@given(said=_SAID, status=st.sampled_from([200, 400, 403, 429, 503]), after=st.text(max_size=40))
def test_whatever_nas_says_is_read_or_is_an_error_of_nas(said: object, status: int, after: str) -> None:
    answer = Answer(status, {"retry-after": after}, json.dumps(said).encode())
    answers.error_in(answer, "/x")
    answers.items_in(answer, {"a"})
    answers.capabilities_in(answer)
    with suppress(NasError):
        answers.page_in(answer)


def test_a_batch_that_cannot_be_read_is_asked_for_no_more(nas: Nas) -> None:
    nas.misbehave = lambda call: (200, b"ok", {}) if "batch" in call.path else None
    one = client(nas)
    with pytest.raises(NasLacks):
        one.do_all([ORDER, Order("b", "t", None, None)])
    assert one.batch_limit == 0


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"armed": 7}', b"nope", b"[" * 100_000])
def test_a_list_that_cannot_be_read_is_no_empty_list(body: bytes) -> None:
    with pytest.raises(NasError):
        answers.page_in(answered(200, body))


def test_a_row_that_cannot_be_read_harms_no_other() -> None:
    rows = [
        7,
        {"job_id": "../x"},
        {"job_id": "a", "fire_at": "soon"},
        {"job_id": "b", "fire_at": "2031-01-01T00:00:00Z"},
    ]
    found, cursor = answers.page_in(answered(200, json.dumps({"armed": rows}).encode()))
    assert found == {"a": None, "b": datetime(2031, 1, 1, tzinfo=UTC)}
    assert cursor is None


def test_a_list_without_an_end_ends_in_time(nas: Nas) -> None:
    nas.misbehave = lambda call: (200, {"armed": [], "next": "0"}, {})
    with pytest.raises(NasError):
        client(nas).armed(monotonic() + 0.5)
    assert len(nas.calls) < 5000, "the time ends it, not the number of pages"


@pytest.mark.parametrize("said", [{"batch": "x"}, {"batch": True, "max_horizon_s": -1}, [], 7, {"precision_s": 1e99}])
def test_capabilities_that_cannot_be_read_are_as_by_default(said: object) -> None:
    assert answers.capabilities_in(answered(200, json.dumps(said).encode())) == answers.Capabilities()


def test_capabilities_are_asked_for_once(nas: Nas) -> None:
    nas.capabilities = {"batch": 100}
    one = client(nas)
    assert one.capabilities(1).batch == 100
    assert one.capabilities(1).batch == 100
    assert one.batch_limit == 100
    assert len(nas.calls) == 1


def test_a_refused_credential_is_tried_again_after_an_hour() -> None:
    now = [0.0]
    stamp = ["old"]
    standing = Standing(lambda: stamp[0], lambda: now[0])
    standing.note(NasRefused("no", reason="invalid_client"))
    assert isinstance(standing.objection(), NasRefused)
    now[0] = 3599.0
    assert standing.objection()
    now[0] = 3601.0
    assert standing.objection() is None
    standing.note(NasRefused("no", reason="invalid_client"))
    stamp[0] = "new"
    assert standing.objection() is None
    standing.note(NasRefused("no", reason="of this call alone"))
    assert standing.objection() is None


def test_backoff_grows_for_an_id_and_stays_short_for_nas() -> None:
    now = [0.0]
    backoff = Backoff(lambda: now[0])
    for _ in range(20):
        backoff.failed("a", NasError("x"), 0.0)
        backoff.round_failed()
    assert 15 <= backoff.next_ready() <= 30
    assert 2 <= backoff.wait() <= 4
    backoff.failed("refused", NasRefused("x", reason="no"), 0.0)
    # NAS is back: what failed only because it was away is tried at once.
    backoff.succeeded("b")
    assert (backoff.ready("a"), backoff.ready("refused"), backoff.wait()) == (True, False, 0.0)
    now[0] = 3601.0
    assert backoff.ready("refused")


def test_backoff_of_one_id_outlives_the_success_of_another() -> None:
    now = [0.0]
    backoff = Backoff(lambda: now[0])
    for _ in range(5):
        backoff.failed("a", NasError("x"), 0.0)
        backoff.succeeded("b")
    assert not backoff.ready("a")
