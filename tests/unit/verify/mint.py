"""Keys made at test time, a mint for tokens, and a JWKS host on loopback that can misbehave."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from hermes_cron.errors import KeysUnavailable, TokenRejected
from hermes_cron.verify.jwks import JwksKeys

AUDIENCE = "agent:lighthouse"
ISSUER = "https://nas.example"
NOW = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
BODY = b'{"job_id": "tides.north", "fire_at": "2026-03-14T09:00:00+00:00"}'


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move it on."""
        self.now += timedelta(seconds=seconds)


@dataclass
class Pair:
    """A private key, the `kid` it is published under, and the algorithm it signs with."""

    private: Any
    algorithm: str
    kid: str

    @property
    def pem(self) -> str:
        """The public half."""
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half, as it is published."""
        for algorithm in (RSAAlgorithm, ECAlgorithm, OKPAlgorithm):
            try:
                found = algorithm.to_jwk(self.private.public_key(), as_dict=True)
            except (jwt.InvalidKeyError, AttributeError):
                continue
            found.pop("key_ops", None)
            return found | {"kid": self.kid, "alg": self.algorithm, "use": "sig"}
        raise AssertionError("an unknown kind of key")

    def sign(self, claims: Any, header: dict[str, Any] | None = None, algorithm: str | None = None) -> str:
        """A token with these claims."""
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        return jwt.PyJWS().encode(
            payload, self.private, algorithm or self.algorithm, {"kid": self.kid} | (header or {})
        )


def new_pair(algorithm: str, kid: str) -> Pair:
    """A new pair of keys for this algorithm."""
    if algorithm[:2] in ("RS", "PS"):
        return Pair(rsa.generate_private_key(65537, 2048), algorithm, kid)
    if algorithm == "EdDSA":
        return Pair(ed25519.Ed25519PrivateKey.generate(), algorithm, kid)
    curve = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}[algorithm]
    return Pair(ec.generate_private_key(curve), algorithm, kid)


def good_claims(now: datetime = NOW, **changes: Any) -> dict[str, Any]:
    """The claims of a good token, with these changes; `...` takes a claim away."""
    at = int(now.timestamp())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "purpose": "cron_fire", "iat": at, "nbf": at, "exp": at + 120}
    return {name: value for name, value in (claims | changes).items() if value is not ...}


def segment(value: Any) -> str:
    """One segment of a token: JSON of this value, or these bytes, in base64url."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@dataclass
class Host:
    """A JWKS host: what it answers is set by the test, and it counts the calls."""

    url: str = ""
    answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: handler.send_error(500)
    calls: int = 0
    release: threading.Event = field(default_factory=threading.Event)

    def publish(self, *jwks: Any) -> None:
        """Answer with a set of these."""
        self.say(json.dumps({"keys": list(jwks)}).encode())

    def say(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer with this."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)

        self.answer = answer

    def hang(self) -> None:
        """Answer nothing until the test ends, or `release` is set."""
        self.answer = lambda handler: self.release.wait(90) and None

    def drip(self) -> None:
        """Answer one byte at a time, for ever."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            while not self.release.wait(0.05):
                handler.wfile.write(b" ")
                handler.wfile.flush()

        self.answer = answer


def until(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether this came true in time: for what another thread does."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()


def reason(keys: JwksKeys, kid: str | None, algorithm: str = "ES256") -> str:
    """What becomes of a token with this header, as far as keys go."""
    try:
        return "found" if keys.find(kid, algorithm) else "nothing"
    except TokenRejected as refusal:
        return refusal.reason
    except KeysUnavailable:
        return "unavailable"


def settle(keys: JwksKeys) -> bool:
    """Whether the fetch in flight, if any, ended in time."""
    return until(lambda: keys._flight is None)
