"""Judge a fire token (contract, section 2): the strict verifier behind the webhook, and its yes-or-no form.

The home of PyJWT. A library call is not a verifier: PyJWT checks the signature here, with one key and one algorithm,
and everything around that is spelled out below, since each step refuses something that the library lets through.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jwt

from hermes_cron import contract
from hermes_cron.clock import Clock, read_instant, utc_now
from hermes_cron.errors import ConfigError, KeysUnavailable, TokenRejected
from hermes_cron.settings import ChronosSettings
from hermes_cron.verify.jwks import JwksKeys
from hermes_cron.verify.keys import Key, Keys, PinnedKeys, pinned_keys, read_jwk, read_jwks, read_keys
from hermes_cron.verify.objects import read_fire, read_object
from hermes_cron.verify.reasons import Reason

log = logging.getLogger(__name__)

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_JWS = jwt.PyJWS(algorithms=contract.ALGORITHMS)
# Beyond this a float no longer tells one second from the next; it also keeps infinities out.
_LATEST = 2**53


class NasVerifier:
    """A `FireVerifier` of tokens that NAS signed. It demands, in this order, the cheap before the dear.

    1. Form: at most 8 KiB, three base64url segments without padding.
    2. Header: a JSON object; `alg` is one of ours (so symmetric ones and `none` go before a key is looked up),
       `kid` is text, nothing is critical; `jku`, `jwk`, `x5u` and `x5c` are never read.
    3. Key: one of NAS's with this `kid`, whose kind, curve, size, `alg`, `use` and `key_ops` allow this `alg`.
    4. Signature: good, by that key and that one algorithm.
    5. Claims: a JSON object, with numbers where times belong and text where names belong.
    6. Time: `exp` is there and not past, `nbf` and `iat` are not to come, with 30 s leeway; a life of 15 min at most.
    7. Issuer: exactly NAS.
    8. Audience: is, or contains, this agent.
    9. Purpose: exactly `cron_fire`.
    10. Bindings: `job_id`, `fire_at`, `body_sha256`, where present, match the body; or must be present, if so set.
    """

    def __init__(
        self, keys: Keys, audience: str, issuer: str, *, require_bound: bool = False, clock: Clock = utc_now
    ) -> None:
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._require_bound = require_bound
        self._clock = clock

    def ready(self) -> bool:
        """Whether a good token could be judged now, without a new fetch."""
        return self._keys.ready()

    def __call__(self, token: str, body: bytes) -> dict[str, Any]:
        """The claims of a good token whose bindings, if any, match these exact body bytes.

        Raises:
            TokenRejected: It is not good; the reason is for the log only.
            KeysUnavailable: It cannot be judged now.
        """
        claims = self.claims(token)
        # 10. Bindings.
        _check_bindings(claims, body)
        if self._require_bound and not _is_bound(claims, body):
            raise TokenRejected(Reason.UNBOUND)
        return claims

    def claims(self, token: str) -> dict[str, Any]:
        """The claims of a good token, whatever body it came with: steps 1 to 9.

        Raises:
            TokenRejected: It is not good; the reason is for the log only.
            KeysUnavailable: It cannot be judged now.
        """
        if not self._audience.strip() or not self._issuer.strip():
            raise TokenRejected(Reason.NOT_CONFIGURED)
        # 1. Form.
        if not isinstance(token, str) or len(token) > contract.MAX_TOKEN_BYTES or _FORM.fullmatch(token) is None:
            raise TokenRejected(Reason.FORM)
        # 2. Header.
        kid, algorithm = _header(token)
        # 3. Key.
        keys = self._keys.find(kid, algorithm)
        # 4. Signature.
        payload = _signed_payload(token, keys, algorithm)
        # 5. Claims.
        claims = _typed_claims(payload)
        # 6. Time.
        _check_time(claims, self._clock().timestamp())
        # 7. Issuer.
        if claims.get("iss") != self._issuer:
            raise TokenRejected(Reason.ISSUER)
        # 8. Audience.
        audience = claims.get("aud")
        if self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise TokenRejected(Reason.AUDIENCE)
        # 9. Purpose.
        if claims.get("purpose") != contract.PURPOSE:
            raise TokenRejected(Reason.PURPOSE)
        return claims


def nas_verifier(chronos: ChronosSettings, *, home: Path, clock: Clock = utc_now) -> NasVerifier:
    """The verifier for this NAS and this agent; keys fetched from a URL are also kept under `home`.

    Raises:
        ConfigError: A setting that it needs is blank or wrong.
    """
    _demand(chronos.portal_url, "portal_url", "It is where NAS is, and the issuer of its fire tokens.")
    _demand(chronos.expected_audience, "expected_audience", "It is this agent's name in fire tokens.")
    _demand(
        chronos.nas_jwks_url or chronos.nas_public_key, "nas_jwks_url",
        "It is where NAS publishes its keys; or pin one key with cron.chronos.nas_public_key.",
    )  # fmt: skip
    if chronos.nas_jwks_url and chronos.nas_public_key:
        raise ConfigError(
            "cron.chronos.nas_jwks_url and cron.chronos.nas_public_key are both set.",
            field="cron.chronos.nas_public_key", hint="Keep the one that fire tokens are to be judged by.",
        )  # fmt: skip
    keys: Keys
    if chronos.nas_jwks_url:
        keys = JwksKeys(chronos.nas_jwks_url, home=home, clock=clock)
    else:
        keys = pinned_keys(chronos.nas_public_key)
    bound = chronos.require_bound_tokens
    return NasVerifier(keys, chronos.expected_audience, chronos.portal_url, require_bound=bound, clock=clock)


def verify_nas_fire_token(
    token: str,
    expected_audience: str,
    jwks_or_key: object = None,
    issuer: str | None = None,
    *,
    body: bytes | None = None,
    clock: Clock = utc_now,
) -> dict[str, Any] | None:
    """The claims of a good fire token, or None. Never raises, and never decodes what it cannot verify.

    `jwks_or_key` is the URL of a JWKS, a JWKS or JWK as a mapping or a text, a PEM text, or an object with keys;
    without it, an audience and an issuer every token is refused (I3). With `body`, bindings must match it.
    """
    try:
        keys = _keys_of(jwks_or_key)
        if keys is None or not isinstance(expected_audience, str) or not isinstance(issuer, str):
            raise TokenRejected(Reason.NOT_CONFIGURED)
        verifier = NasVerifier(keys, expected_audience, issuer, clock=clock)
        return verifier.claims(token) if body is None else verifier(token, body)
    except TokenRejected as refusal:
        log.warning("fire token refused: %s", refusal.reason)
    except KeysUnavailable as error:
        log.warning("fire token not judged: %s", error)
    except Exception as error:  # noqa: BLE001 - its callers read None as "no", and must never read a crash as "yes".
        log.warning("fire token not judged: %s", type(error).__name__)
    return None


def _demand(value: str, key: str, hint: str) -> None:
    if not value.strip():
        field = f"cron.chronos.{key}"
        raise ConfigError(f"{field} is not set; without it every fire would be refused.", field=field, hint=hint)


def _keys_of(source: object) -> Keys | None:
    if isinstance(source, bytes):
        source = source.decode()
    if isinstance(source, str):
        text = source.strip()
        if not text:
            return None
        return _keys_at(text) if text.lower().startswith(("https://", "http://")) else _keys_in(text)
    if isinstance(source, Mapping):
        return PinnedKeys(read_jwks(source) if "keys" in source else [read_jwk(source)])
    return source if isinstance(source, Keys) else None


@lru_cache(maxsize=16)
def _keys_at(url: str) -> Keys:
    return JwksKeys(url)


@lru_cache(maxsize=64)
def _keys_in(text: str) -> Keys:
    return PinnedKeys(read_keys(text))


def _header(token: str) -> tuple[str | None, str]:
    segment = token.partition(".")[0]
    try:
        header = read_object(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError as error:
        raise TokenRejected(Reason.HEADER) from error
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in contract.ALGORITHMS:
        raise TokenRejected(Reason.ALGORITHM)
    if "kid" in header and not isinstance(kid, str):
        raise TokenRejected(Reason.HEADER)
    if "crit" in header or "b64" in header:
        raise TokenRejected(Reason.CRITICAL)
    return kid, algorithm


def _signed_payload(token: str, keys: Sequence[Key], algorithm: str) -> bytes:
    for key in keys:
        try:
            payload: bytes = _JWS.decode(token, key.public, algorithms=[algorithm])
            return payload
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenRejected(Reason.FORM) from error
    raise TokenRejected(Reason.SIGNATURE)


def _typed_claims(payload: bytes) -> dict[str, Any]:
    try:
        claims = read_object(payload)
    except ValueError as error:
        raise TokenRejected(Reason.CLAIMS) from error
    numbers = (claims[name] for name in ("exp", "nbf", "iat") if name in claims)
    # `type`, not isinstance: true is an int to Python.
    good = all(type(number) in (int, float) and -_LATEST < number < _LATEST for number in numbers)
    texts = (claims[name] for name in ("sub", "jti") if name in claims)
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else []
    if not good or not all(isinstance(text, str) for text in (*texts, *listed)):
        raise TokenRejected(Reason.CLAIMS)
    return claims


def _check_time(claims: Mapping[str, Any], now: float) -> None:
    if "exp" not in claims:
        raise TokenRejected(Reason.NO_EXPIRY)
    expiry, issued = claims["exp"], claims.get("iat", now)
    if now >= expiry + contract.LEEWAY_S:
        raise TokenRejected(Reason.EXPIRED)
    if max(issued, claims.get("nbf", now)) > now + contract.LEEWAY_S:
        raise TokenRejected(Reason.NOT_YET)
    if expiry - issued > contract.MAX_TOKEN_LIFE_S:
        raise TokenRejected(Reason.LIFE)


def _check_bindings(claims: Mapping[str, Any], body: bytes) -> None:
    if "body_sha256" in claims:
        digest = claims["body_sha256"]
        if not isinstance(digest, str) or _SHA256.fullmatch(digest) is None:
            raise TokenRejected(Reason.BODY)
        if not hmac.compare_digest(digest.lower(), hashlib.sha256(body).hexdigest()):
            raise TokenRejected(Reason.BODY)
    if "job_id" in claims and claims["job_id"] != read_fire(body).job_id:
        raise TokenRejected(Reason.JOB)
    if "fire_at" in claims:
        try:
            named = read_instant(claims["fire_at"])
        except ValueError as error:
            raise TokenRejected(Reason.INSTANT) from error
        # As instants, never as texts: Z equals +00:00.
        if named != read_fire(body).fire_at:
            raise TokenRejected(Reason.INSTANT)


def _is_bound(claims: Mapping[str, Any], body: bytes) -> bool:
    # All of the body that has a meaning must be bound, or a token could be used for another instant.
    if "body_sha256" in claims:
        return True
    return "job_id" in claims and ("fire_at" in claims or read_fire(body).fire_at is None)
