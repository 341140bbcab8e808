"""`TokenMinter`: fire tokens as NAS signs them, and each kind of bad one, with a key of its own."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hermes_cron.clock import EPOCH, Clock, instant_text, utc_now
from hermes_cron.contract import LEEWAY_S, MAX_TOKEN_LIFE_S
from hermes_cron.errors import ConfigError
from hermes_cron.nas.delivery import claims_of, fire_body
from hermes_cron.nas.keys import Signer, make_key
from hermes_cron.testing.times import Instant, instant_of
from hermes_cron.verify.reasons import Reason

BAD_TOKENS: Mapping[str, str] = {
    "garbled": Reason.FORM,
    "unsigned": Reason.ALGORITHM,
    "symmetric": Reason.ALGORITHM,
    "unknown_key": Reason.UNKNOWN_KEY,
    "forged": Reason.SIGNATURE,
    "tampered": Reason.SIGNATURE,
    "no_expiry": Reason.NO_EXPIRY,
    "expired": Reason.EXPIRED,
    "not_yet": Reason.NOT_YET,
    "long_lived": Reason.LIFE,
    "wrong_issuer": Reason.ISSUER,
    "wrong_audience": Reason.AUDIENCE,
    "wrong_purpose": Reason.PURPOSE,
    "other_job": Reason.JOB,
    "other_instant": Reason.INSTANT,
    "other_body": Reason.BODY,
}
"""Each kind of bad token, and the reason that the log gives for refusing it: to parametrize a test with.

`symmetric` is signed with the public key for a secret, `forged` with another key under the id of the right one.
"""

_Claims = dict[str, Any]
_CHANGES: Mapping[str, Callable[[_Claims], _Claims]] = {
    "no_expiry": lambda claims: {"exp": None},
    "expired": lambda claims: {"iat": claims["iat"] - 600, "exp": claims["iat"] - LEEWAY_S},
    "not_yet": lambda claims: {"nbf": claims["iat"] + LEEWAY_S + 1},
    "long_lived": lambda claims: {"exp": claims["iat"] + MAX_TOKEN_LIFE_S + 1},
    "wrong_issuer": lambda claims: {"iss": f"{claims['iss']}.example"},
    "wrong_audience": lambda claims: {"aud": f"{claims['aud']}-2"},
    "wrong_purpose": lambda claims: {"purpose": "agent_login"},
    "other_job": lambda claims: {"job_id": f"{claims['job_id']}-2"},
    "other_instant": lambda claims: {"fire_at": "1999-12-31T23:59:59+00:00"},
    "other_body": lambda claims: {"body_sha256": hashlib.sha256(b"{}").hexdigest()},
}


class TokenMinter:
    """Signs fire tokens for one audience as one issuer, with a key that is made anew each time.

    Give `public_key` to what is to believe them: `verify_nas_fire_token`, or `cron.chronos.nas_public_key`; and the
    audience and the issuer to `expected_audience` and `portal_url`.

    >>> from hermes_cron.verify.token import verify_nas_fire_token
    >>> minter = TokenMinter("agent:reports", "https://nas.example.org")
    >>> token = minter.mint("reports.morning", "2026-03-29T05:00Z")
    >>> claims = verify_nas_fire_token(token, "agent:reports", minter.public_key, "https://nas.example.org")
    >>> claims["purpose"], claims["job_id"]
    ('cron_fire', 'reports.morning')
    """

    def __init__(
        self, audience: str = "agent:tested", issuer: str = "https://nas.invalid", *, clock: Clock = utc_now,
        alg: str = "ES256",
    ) -> None:  # fmt: skip
        self.audience = audience
        self.issuer = issuer
        self._clock = clock
        key, stranger = make_key(alg, EPOCH), make_key(alg, EPOCH)
        self._signer = Signer(key)
        self._signers = {"unknown_key": Signer(stranger), "forged": Signer(replace(stranger, kid=key.kid))}

    @property
    def public_key(self) -> str:
        """The public half of its key, as the text of a JWK."""
        return json.dumps(self._signer.published())

    @property
    def jwks(self) -> dict[str, Any]:
        """The same as a key set, as NAS publishes it (RFC 7517)."""
        return {"keys": [self._signer.published()]}

    def mint(
        self, job_id: str, fire_at: Instant, *, body: bytes | None = None, claims: Mapping[str, Any] | None = None
    ) -> str:
        """A token for one fire, good for 120 s, bound to the job, the instant and the body.

        `body` are the exact bytes that it will come with; by default those of `fire_body`, as NAS writes them.
        `claims` are set besides, or instead; one that is None is left out.

        Raises:
            TimeInvalid: The instant cannot be read.
        """
        return self._signer.sign(self._claims(job_id, fire_at, body, claims or {}))

    def mint_bad(self, kind: str, job_id: str, fire_at: Instant, *, body: bytes | None = None) -> str:
        """A token that is good but for one thing: `kind` is one of BAD_TOKENS.

        Raises:
            ConfigError: There is no such kind.
            TimeInvalid: The instant cannot be read.
        """
        if kind not in BAD_TOKENS:
            hint = f"There are {', '.join(BAD_TOKENS)}."
            raise ConfigError(f"There is no bad token {kind!r}.", hint=hint, field="kind")
        claims = self._claims(job_id, fire_at, body, {})
        claims = _changed(claims, _CHANGES[kind](claims)) if kind in _CHANGES else claims
        if kind in ("unsigned", "symmetric"):
            return self._by_hand(kind, claims)
        token = self._signers.get(kind, self._signer).sign(claims)
        header, payload, signature = token.split(".")
        if kind == "tampered":
            payload = _segment(_changed(claims, {"job_id": f"{job_id}-2"}))
        return f"{header}.{payload}" if kind == "garbled" else f"{header}.{payload}.{signature}"

    def _claims(self, job_id: str, fire_at: Instant, body: bytes | None, besides: Mapping[str, Any]) -> _Claims:
        at = instant_of(fire_at, "fire_at")
        body = fire_body(job_id, at) if body is None else body
        claims = claims_of(self.issuer, self.audience, (job_id, at), body, self._clock())
        return _changed(claims, besides)

    def _by_hand(self, kind: str, claims: _Claims) -> str:
        # No library signs like this any more, which is not to say that nobody does.
        alg = "none" if kind == "unsigned" else "HS256"
        signed = f"{_segment({'alg': alg, 'typ': 'JWT', 'kid': self._signer.published()['kid']})}.{_segment(claims)}"
        secret = hmac.new(self.public_key.encode(), signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{_text(secret)}"


def _changed(claims: Mapping[str, Any], changes: Mapping[str, Any]) -> _Claims:
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def _segment(value: Mapping[str, Any]) -> str:
    return _text(json.dumps(value, default=instant_text).encode())


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
