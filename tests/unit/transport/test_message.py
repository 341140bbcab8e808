"""A fire as a message."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_cron.errors import MessageRejected
from hermes_cron.fire import KINDS, Fire
from hermes_cron.transport.message import MAX_BYTES, decode, encode

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "v": 1, "job_id": "backup", "fire_at": "2026-07-01T12:00:00+00:00", "kind": "fire",
    "received_at": None, "trace": {},
}  # fmt: skip

instants = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fires = st.builds(
    Fire,
    st.from_regex(r"[A-Za-z0-9_:@-][A-Za-z0-9._:@-]{0,254}", fullmatch=True).filter(str.isascii),
    st.none() | instants,
    st.sampled_from(KINDS),
    st.none() | instants,
    st.dictionaries(
        st.from_regex(r"[a-z-]{1,20}", fullmatch=True),
        st.text(st.characters(min_codepoint=32, max_codepoint=126)),
        max_size=3,
    ),
)  # fmt: skip


def message(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


@given(fires)
def test_a_fire_comes_back_as_it_was(fire: Fire) -> None:
    assert decode(encode(fire)) == fire


def test_it_is_what_the_surface_says() -> None:
    fire = Fire("backup", NOON, "fire", NOON.astimezone(timezone(timedelta(hours=2))), {"traceparent": "00-1"})
    assert json.loads(encode(fire)) == {
        "v": 1, "job_id": "backup", "fire_at": "2026-07-01T12:00:00+00:00", "kind": "fire",
        "received_at": "2026-07-01T12:00:00+00:00", "trace": {"traceparent": "00-1"},
    }  # fmt: skip
    assert encode(Fire("backup")).startswith(b'{"v":1,')


def test_a_trace_that_no_reader_would_believe_is_left_out() -> None:
    hostile: Any = {
        "traceparent": "00-ab",
        "bad name": "x",
        "long": "x" * 513,
        "line": "a\nb",
        "lone": "\ud800",
        "n": 1,
    }
    assert decode(encode(Fire("backup", trace=hostile))).trace == {"traceparent": "00-ab"}
    assert len(decode(encode(Fire("backup", trace={f"n{number}": "" for number in range(99)}))).trace) == 16


def test_fields_that_are_not_known_are_ignored() -> None:
    assert decode(message(later={"a": [1]})) == Fire("backup", NOON)


def test_fields_that_may_be_left_out_may() -> None:
    assert decode(b'{"v": 1, "job_id": "backup", "kind": "sweep"}') == Fire("backup", kind="sweep")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"1", b'"v"', b"[]", b"{", b"\xff", b"{}", b'{"v": 1}',
        message() + b"x", message().decode().encode("utf-16"), b"\xef\xbb\xbf" + message(),
        b'{"v": 1, ' + message()[1:],
        message(job_id="a", extra=float("nan")), message(extra=float("inf")),
        b"[" * (MAX_BYTES - 1), b'{"a":' * 3000, message(v=10**17),
        b'{"v": 1' + b"0" * 5000 + b"}",
        message(extra="x" * MAX_BYTES),
    ],
)  # fmt: skip
def test_what_is_not_json_of_an_object_is_rejected(body: bytes) -> None:
    with pytest.raises(MessageRejected):
        decode(body)


@pytest.mark.parametrize("version", [0, 2, -1, True, 1.0, "1", None, [1]])
def test_another_version_is_rejected(version: Any) -> None:
    with pytest.raises(MessageRejected, match="version"):
        decode(message(v=version))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job_id", None), ("job_id", ""), ("job_id", ".x"), ("job_id", "a b"), ("job_id", "a\n"), ("job_id", 1),
        ("job_id", "x" * 256), ("job_id", ["a"]), ("job_id", {"__type__": "uuid", "__value__": "1"}),
        ("job_id", "\ud800"), ("job_id", "\u0661"),
        ("kind", None), ("kind", "other"), ("kind", ["fire"]), ("kind", {}),
        ("fire_at", "noon"), ("fire_at", "2026-07-01T12:00:00"), ("fire_at", 1), ("fire_at", False),
        ("fire_at", "0001-01-01T00:00:00+23:59"), ("fire_at", "2026-07-01T12:00:00+00:00" + " " * 99),
        ("fire_at", {"__type__": "datetime", "__value__": "2026-07-01T12:00:00+00:00"}),
        ("received_at", "soon"), ("received_at", 12),
        ("trace", None), ("trace", []), ("trace", {"a": 1}), ("trace", {"a b": "x"}), ("trace", {"a": "\ud800"}),
        ("trace", {"a": {"__type__": "bytes", "__value__": "eA=="}}), ("trace", {"a": "x" * 513}),
        ("trace", {str(number): "" for number in range(17)}),
    ],
)  # fmt: skip
def test_another_shape_is_rejected(field: str, value: Any) -> None:
    with pytest.raises(MessageRejected):
        decode(message(**{field: value}))


@given(st.binary(max_size=200) | plain.map(lambda value: json.dumps(value).encode()))
def test_whatever_it_is_given_it_reads_or_rejects(body: bytes) -> None:
    with contextlib.suppress(MessageRejected):
        decode(body)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), plain))
def test_a_message_with_some_fields_spoilt_is_read_or_rejected(changes: dict[str, Any]) -> None:
    try:
        fire = decode(message(**changes))
    except MessageRejected:
        return
    assert decode(encode(fire)) == fire


def test_what_is_said_of_a_message_repeats_none_of_it() -> None:
    with pytest.raises(MessageRejected) as caught:
        decode(message(job_id="canary canary"))
    assert "canary" not in str(caught.value)
