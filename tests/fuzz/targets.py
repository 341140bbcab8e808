"""What is fuzzed: each target takes any bytes, and raises only if a promise is broken.

`run.py` feeds them by coverage for as long as one likes; a unit test feeds each a few seeds, so that they stay true.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import falcon.testing
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from hermes_cron.contract import FIRE_PATH, MAX_FIRE_BODY_BYTES, is_job_id
from hermes_cron.errors import MessageRejected, TokenRejected
from hermes_cron.fire import Fire
from hermes_cron.transport.message import decode, encode
from hermes_cron.verify.keys import PinnedKeys, read_jwk
from hermes_cron.verify.token import NasVerifier
from hermes_cron.webapp import make_webapp
from tests.unit.verify.mint import AUDIENCE, BODY, ISSUER, FakeClock, good_claims, new_pair, segment

PAIR = new_pair("ES256", "one")
CLOCK = FakeClock()
VERIFY = NasVerifier(PinnedKeys([read_jwk(PAIR.jwk)]), AUDIENCE, ISSUER, clock=CLOCK)
HEADER = json.dumps({"alg": "ES256", "kid": "one", "typ": "JWT"}).encode()
CLAIMS = json.dumps(good_claims()).encode()
GOOD = PAIR.sign(good_claims())


def verifier(data: bytes) -> None:
    """A token is refused or good, and is good only if we signed just this; a first byte chooses what is fuzzed."""
    kind, rest = data[:1] or b"\0", data[1:]
    if kind < b"\x40":
        # Any text at all.
        token = rest.decode("latin-1")
        assert _judged(token, BODY) == (token == GOOD)
    elif kind < b"\x80":
        # A good token with its header, claims or signature replaced.
        parts = GOOD.split(".")
        parts[kind[0] % 3] = segment(rest)
        token = ".".join(parts)
        assert _judged(token, BODY) == (token == GOOD)
    elif kind < b"\xc0":
        # Claims of any kind that NAS did sign, and any body.
        payload, _, body = rest.partition(b"\0")
        if _judged(_signed(HEADER, payload), body):
            _must_be_ours(payload, body)
    else:
        # A header of any kind that NAS did sign.
        if _judged(_signed(rest, CLAIMS), BODY):
            header = json.loads(rest)
            assert header["alg"] == "ES256"
            assert header.get("kid", "one") == "one"


def _signed(header: bytes, payload: bytes) -> str:
    text = f"{segment(header)}.{segment(payload)}"
    r, s = decode_dss_signature(PAIR.private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{segment(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _judged(token: str, body: bytes) -> bool:
    try:
        claims = VERIFY(token, body)
    except TokenRejected:
        return False
    assert isinstance(claims, dict)
    return True


def _must_be_ours(payload: bytes, body: bytes) -> None:
    claims = json.loads(payload)
    now = CLOCK().timestamp()
    audience = claims["aud"]
    assert claims["iss"] == ISSUER
    assert audience == AUDIENCE or (isinstance(audience, list) and AUDIENCE in audience)
    assert claims["purpose"] == "cron_fire"
    assert type(claims["exp"]) in (int, float)
    assert now - 30 < claims["exp"] <= max(now, claims.get("iat", now)) + 30 + 15 * 60
    if "job_id" in claims:
        assert json.loads(body)["job_id"] == claims["job_id"]


class _Kept:
    """A broker that keeps the last fire."""

    fire: Fire | None = None

    def enqueue(self, fire: Fire) -> None:
        self.fire = fire

    def depth(self) -> int:
        return 0

    def set_aside(self) -> int:
        return 0


class _Open:
    """A verifier that lets everybody in: what is fuzzed is what comes after it."""

    def __call__(self, token: str, body: bytes) -> Mapping[str, Any]:
        return {}

    def ready(self) -> bool:
        return True


BROKER = _Kept()
CLIENT = falcon.testing.TestClient(make_webapp(_Open(), BROKER, lambda: None))  # type: ignore[arg-type]  # as far as it is used.


def webhook(data: bytes) -> None:
    """Any body is answered with 202, 400 or 413; 202 means a fire that every worker can read."""
    BROKER.fire = None
    result = CLIENT.simulate_post(
        FIRE_PATH, body=data, headers={"Authorization": "Bearer x", "Content-Type": "application/json"}
    )
    answer = json.loads(result.content)
    if result.status_code == 202:
        fire = BROKER.fire
        assert fire is not None
        assert is_job_id(fire.job_id)
        assert answer == {"status": "accepted", "job_id": fire.job_id, "dedup_key": fire.dedup_key}
        assert decode(encode(fire)) == fire
    else:
        assert result.status_code == (413 if len(data) > MAX_FIRE_BODY_BYTES else 400)
        assert BROKER.fire is None
        assert answer["error"]


def fields(data: bytes) -> None:
    """The same for a body whose form is right, with any texts in it: a search finds JSON too seldom by itself."""
    names = ("job_id", "fire_at", "dedup_key")
    texts = (piece.decode("utf-8", "surrogateescape") for piece in data.split(b"\0", 2))
    webhook(json.dumps(dict(zip(names, texts, strict=False))).encode()[:MAX_FIRE_BODY_BYTES])


def message(data: bytes) -> None:
    """Any message is rejected, or is a fire that is the same after another journey."""
    try:
        fire = decode(data)
    except MessageRejected:
        return
    assert is_job_id(fire.job_id)
    assert decode(encode(fire)) == fire


TARGETS: dict[str, Callable[[bytes], None]] = {
    "verifier": verifier,
    "webhook": webhook,
    "fields": fields,
    "message": message,
}


def seeds(name: str) -> list[bytes]:
    """Where a search may begin."""
    fire, claims = BODY, json.dumps(good_claims()).encode()
    bound = json.dumps(good_claims(job_id="tides.north", fire_at="2026-03-14T09:00:00Z", jti="a", sub="b")).encode()
    return {
        "webhook": [fire, b'{"job_id":"a"}', b'{"job_id":"a","fire_at":"2026-03-14T09:00:00Z"}', b"[]", b"{"],
        "fields": [b"a", b"a\0002026-03-14T09:00:00Z", b"a.b:c@d\0002026-03-14T09:00:00.5+02:00\0x"],
        "message": [encode(Fire("a")), encode(Fire("a", CLOCK(), "sweep", CLOCK(), {"a": "b"})), b"{}", b"\x80\x04."],
        "verifier": [
            b"\0" + GOOD.encode(), b"\0a.b.c", b"\x42" + b'{"alg":"none"}', b"\x43" + claims, b"\x44" + bytes(64),
            b"\x80" + claims + b"\0" + fire, b"\x80" + bound + b"\0" + fire,
            b"\xc0" + b'{"alg":"ES256","kid":"one","typ":"JWT"}', b'\xc0{"alg":"ES256","crit":["b64"],"b64":false}',
        ],
    }[name]  # fmt: skip
