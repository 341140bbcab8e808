"""The escape hatch: fires signed with a key of their job's own."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_cron.errors import ConfigError, TokenRejected
from hermes_cron.verify.cron_key import CronKeyVerifier, cron_key_verifier, job_key, read_secrets, sign_cron_key
from hermes_cron.verify.reasons import Reason
from tests.unit.verify.mint import BODY, NOW, FakeClock

SECRET = b"a secret of the tests, long enough"
KEY = job_key(SECRET, "tides.north")


def sign(body: bytes = BODY, key: bytes = KEY, late: float = 0) -> str:
    clock = FakeClock()
    clock.advance(-late)
    return sign_cron_key(key, body, message_id="msg-1", clock=clock)


def verdict(token: Any, body: bytes = BODY, *secrets: bytes) -> str:
    try:
        return "good" if CronKeyVerifier(secrets or [SECRET], clock=FakeClock())(token, body) else "empty"
    except TokenRejected as refusal:
        return refusal.reason


def test_a_good_token_has_the_claims_of_a_bound_fire_token() -> None:
    assert CronKeyVerifier([SECRET], clock=FakeClock())(sign(), BODY) == {
        "purpose": "cron_fire",
        "iat": int(NOW.timestamp()),
        "jti": "msg-1",
        "job_id": "tides.north",
        "fire_at": "2026-03-14T09:00:00+00:00",
        "body_sha256": hashlib.sha256(BODY).hexdigest(),
    }


def test_it_signs_what_the_standard_webhooks_scheme_signs() -> None:
    version, name, stamp, signature = sign().split(".")
    wanted = hmac.digest(KEY, f"{name}.{stamp}.".encode() + BODY, "sha256")
    assert (version, name, stamp) == ("v1", "msg-1", str(int(NOW.timestamp())))
    assert base64.urlsafe_b64decode(signature + "=") == wanted


def test_every_token_is_another_one() -> None:
    assert sign_cron_key(KEY, BODY, clock=FakeClock()) != sign_cron_key(KEY, BODY, clock=FakeClock())
    assert verdict(sign_cron_key(KEY, BODY, clock=FakeClock())) == "good"


def test_a_fire_without_an_instant_may_be_signed() -> None:
    body = b'{"job_id": "tides.north"}'
    assert "fire_at" not in CronKeyVerifier([SECRET], clock=FakeClock())(sign(body), body)


def test_i4_a_key_of_one_job_fires_no_other() -> None:
    body = b'{"job_id": "tides.south"}'
    assert verdict(sign(body), body) == Reason.SIGNATURE
    assert verdict(sign(body, job_key(SECRET, "tides.south")), body) == "good"


def test_i4_a_token_for_another_body_is_refused() -> None:
    assert verdict(sign(), BODY + b" ") == Reason.SIGNATURE
    assert verdict(sign(), BODY.replace(b"09:00", b"09:01")) == Reason.SIGNATURE


@pytest.mark.parametrize(
    ("late", "expected"),
    [(0, "good"), (300, "good"), (301, Reason.EXPIRED), (-300, "good"), (-301, Reason.NOT_YET)],
)
def test_it_is_good_for_five_minutes(late: float, expected: str) -> None:
    assert verdict(sign(late=late)) == expected


@pytest.mark.parametrize("place", [1, 2])
def test_its_id_and_its_time_are_signed(place: int) -> None:
    parts = sign().split(".")
    parts[place] = parts[place][:-1] + ("0" if parts[place][-1] != "0" else "2")
    assert verdict(".".join(parts)) == Reason.SIGNATURE


@pytest.mark.parametrize(
    "token", ["", "v1", "v1.a.1.", None, 7, b"v1.a.1.b", sign() + "\n", sign() + "=", "v2" + sign()[2:]]
)
def test_it_refuses_another_form(token: object) -> None:
    assert verdict(token) == Reason.FORM


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"job_id": 7}', b'{"job_id": "../x"}', b'{"job_id": "a", "job_id": "b"}']
)
def test_it_refuses_a_body_that_names_no_job(body: bytes) -> None:
    assert verdict(sign(body), body) == Reason.BODY


def test_a_secret_is_changed_without_a_gap() -> None:
    newer = b"another secret of the tests, also long"
    assert verdict(sign(), BODY, newer, SECRET) == "good"
    assert verdict(sign(key=job_key(newer, "tides.north")), BODY, newer, SECRET) == "good"
    assert verdict(sign(), BODY, newer) == Reason.SIGNATURE


def test_i3_without_a_secret_every_token_is_refused() -> None:
    with pytest.raises(TokenRejected):
        CronKeyVerifier([], clock=FakeClock())(sign(), BODY)


def test_a_message_id_that_does_not_fit_is_not_signed() -> None:
    with pytest.raises(ValueError, match="message_id"):
        sign_cron_key(KEY, BODY, message_id="a.b")


@given(
    st.text(max_size=200) | st.from_regex(r"v1\.[A-Za-z0-9_-]+\.[0-9]+\.[A-Za-z0-9_-]{43}", fullmatch=True), st.binary()
)
def test_nothing_that_was_not_signed_is_good(token: str, body: bytes) -> None:
    assert verdict(token, body) != "good"
    assert verdict(token) != "good"


class TestSecrets:
    def test_they_are_read_from_a_file_one_a_line(self, tmp_path: Path) -> None:
        file = tmp_path / "secrets"
        raw = bytes(range(32))
        file.write_text(f"whsec_{base64.b64encode(raw).decode()}\n\n  {SECRET.decode()}  \n")
        assert read_secrets(str(file)) == (raw, SECRET)
        verifier = cron_key_verifier(str(file), clock=FakeClock())
        assert verifier.ready()
        assert verifier(sign(), BODY)

    @pytest.mark.parametrize("text", ["", "\n", "short", "whsec_AAAA", "whsec_!!", f"{'x' * 40}\nshort"])
    def test_a_missing_or_short_one_is_refused_and_not_repeated(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "secrets"
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            read_secrets(str(file))
        assert caught.value.field == "cron.key_file"
        assert caught.value.hint
        assert "short" not in str(caught.value)

    @pytest.mark.parametrize("file", ["", " ", "/no/such/file", "\0", "/"])
    def test_a_file_that_is_not_there_is_named_with_its_field(self, file: str) -> None:
        with pytest.raises(ConfigError) as caught:
            cron_key_verifier(file)
        assert caught.value.field == "cron.key_file"
