"""Whatever a token looks like, it is judged: never a crash, and never a yes to what NAS did not sign."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hermes_cron.errors import TokenRejected
from hermes_cron.verify.keys import PinnedKeys, read_jwk
from hermes_cron.verify.reasons import Reason
from hermes_cron.verify.token import NasVerifier, verify_nas_fire_token
from tests.unit.verify.mint import AUDIENCE, BODY, ISSUER, FakeClock, Pair, good_claims, segment

# The session's key pair does not change between examples.
relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner), max_leaves=8
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x"]), VALUES)
NAMES = ["exp", "iat", "nbf", "iss", "aud", "purpose", "jti", "sub", "job_id", "fire_at", "body_sha256"]


def judged(pair: Pair, token: Any, body: bytes = BODY) -> str:
    """`good`, or the reason, which is one of ours; anything else that is raised fails the test."""
    verifier = NasVerifier(PinnedKeys([read_jwk(pair.jwk)]), AUDIENCE, ISSUER, clock=FakeClock())
    try:
        verifier(token, body)
    except TokenRejected as refusal:
        return Reason(refusal.reason)
    return "good"


@relaxed
@given(st.text() | st.lists(st.binary(), max_size=5).map(lambda parts: ".".join(map(segment, parts))) | VALUES)
def test_no_text_is_good_and_none_is_a_crash(pair: Pair, token: Any) -> None:
    assert judged(pair, token) != "good"


@relaxed
@given(HEADERS | VALUES, VALUES, st.binary(max_size=80))
def test_no_unsigned_token_is_good(pair: Pair, header: Any, claims: Any, signature: bytes) -> None:
    assert judged(pair, f"{segment(header)}.{segment(claims)}.{segment(signature)}") != "good"


@relaxed
@given(st.integers(0, 2**9), st.integers(0, 255))
def test_no_changed_byte_is_good(pair: Pair, place: int, byte: int) -> None:
    token = pair.sign(good_claims()).encode()
    place %= len(token)
    changed = token[:place] + bytes([byte]) + token[place + 1 :]
    assume(changed != token)
    assert judged(pair, changed.decode("latin-1")) != "good"


@relaxed
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1), st.binary(max_size=40))
def test_a_signed_token_with_any_claims_is_judged(pair: Pair, claims: dict[str, Any], body: bytes) -> None:
    verdict = judged(pair, pair.sign(good_claims(**claims)), body)
    if verdict == "good":
        assert not {"iss", "aud", "purpose", "job_id", "fire_at", "body_sha256"} & (
            {name for name, value in claims.items() if value != good_claims().get(name)} - {"aud"}
        )


@relaxed
@given(st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
def test_a_signed_token_with_any_payload_is_judged(pair: Pair, payload: bytes) -> None:
    assert judged(pair, pair.sign(payload)) != "good"


@relaxed
@given(
    st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "alg", "use", "key_ops", "kid", "d"]), VALUES)
)
def test_no_odd_jwk_is_a_crash(pair: Pair, change: dict[str, Any]) -> None:
    try:
        key = read_jwk(pair.jwk | change)
    except ValueError:
        return
    assert key.algorithms == {"ES256"}


@relaxed
@given(VALUES | st.binary(), VALUES | st.binary(), VALUES | st.binary(), VALUES)
def test_the_yes_or_no_form_never_raises(pair: Pair, token: Any, audience: Any, key: Any, issuer: Any) -> None:
    # No URL comes out of these: that would be a call.
    assume(not isinstance(key, str) or not key.strip().lower().startswith("http"))
    assert verify_nas_fire_token(token, audience, key, issuer) is None
    assert verify_nas_fire_token(token, AUDIENCE, pair.pem, ISSUER) is None


@relaxed
@given(st.sampled_from([0, 1, 2]), st.binary(min_size=1, max_size=3))
def test_no_two_texts_are_the_same_token(pair: Pair, place: int, more: bytes) -> None:
    parts = pair.sign(good_claims()).split(".")
    raw = base64.urlsafe_b64decode(parts[place] + "=" * (-len(parts[place]) % 4))
    parts[place] = segment(raw + more)
    assert judged(pair, ".".join(parts)) != "good"
