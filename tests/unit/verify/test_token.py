"""The yes-or-no form of the judge of fire tokens: the eleven classic cases by name, and its own promises."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest

from hermes_cron.verify.keys import PinnedKeys, read_jwk
from hermes_cron.verify.token import verify_nas_fire_token
from tests.unit.verify.mint import AUDIENCE, BODY, ISSUER, NOW, FakeClock, Host, Pair, good_claims, segment


def judge(token: Any, key: Any, *, audience: Any = AUDIENCE, issuer: Any = ISSUER, **options: Any) -> Any:
    return verify_nas_fire_token(token, audience, key, issuer, clock=FakeClock(), **options)


class TestClassicCases:
    """What every verifier of fire tokens must answer, in its yes-or-no form."""

    def test_good(self, pair: Pair) -> None:
        assert judge(pair.sign(good_claims()), pair.pem) == good_claims()

    def test_expired(self, pair: Pair) -> None:
        at = int(NOW.timestamp())
        assert judge(pair.sign(good_claims(iat=at - 400, nbf=at - 400, exp=at - 60)), pair.pem) is None

    def test_wrong_audience(self, pair: Pair) -> None:
        assert judge(pair.sign(good_claims(aud="agent:other")), pair.pem) is None

    def test_wrong_issuer(self, pair: Pair) -> None:
        assert judge(pair.sign(good_claims(iss="https://nas.example.evil")), pair.pem) is None

    def test_wrong_purpose(self, pair: Pair) -> None:
        assert judge(pair.sign(good_claims(purpose="chat")), pair.pem) is None

    def test_missing_purpose(self, pair: Pair) -> None:
        assert judge(pair.sign(good_claims(purpose=...)), pair.pem) is None

    def test_symmetric_algorithm_with_the_public_key_as_secret(self, pair: Pair) -> None:
        for key in (pair.pem, pair.pem.strip(), json.dumps(pair.jwk)):
            signed = f"{segment({'alg': 'HS256', 'kid': pair.kid})}.{segment(good_claims())}"
            token = f"{signed}.{segment(hmac.digest(key.encode(), signed.encode(), 'sha256'))}"
            assert judge(token, pair.pem) is None

    @pytest.mark.parametrize("name", ["none", "None", "NONE", ""])
    def test_algorithm_none(self, pair: Pair, name: str) -> None:
        for signature in ("", "AA"):
            assert judge(f"{segment({'alg': name})}.{segment(good_claims())}.{signature}", pair.pem) is None

    @pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "garbage", "a.b.c.d", "\ud800", "é.é.é"])
    def test_unsigned_or_garbage(self, pair: Pair, token: str) -> None:
        assert judge(token, pair.pem) is None
        assert judge(f"{segment({'alg': 'ES256'})}.{segment(good_claims())}.", pair.pem) is None

    def test_tampered_signature(self, pair: Pair) -> None:
        head, claims, signature = pair.sign(good_claims()).split(".")
        raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
        raw[5] ^= 1
        assert judge(f"{head}.{claims}.{segment(bytes(raw))}", pair.pem) is None
        assert judge(f"{head}.{segment(good_claims(jti='x'))}.{signature}", pair.pem) is None

    @pytest.mark.parametrize("key", [None, "", " ", {}, {"keys": []}, [], 7, "no key", "-----BEGIN PUBLIC KEY-----"])
    def test_i3_without_a_key_every_token_is_refused(self, pair: Pair, key: object) -> None:
        assert judge(pair.sign(good_claims()), key) is None


class TestYesOrNo:
    """`verify_nas_fire_token` beyond the classic cases."""

    def test_its_arguments_keep_their_names_and_their_order(self, pair: Pair) -> None:
        token = pair.sign(good_claims())
        clock = FakeClock()
        assert verify_nas_fire_token(token, AUDIENCE, pair.pem, ISSUER, clock=clock)
        assert verify_nas_fire_token(
            token=token, expected_audience=AUDIENCE, jwks_or_key=pair.pem, issuer=ISSUER, clock=clock
        )

    @pytest.mark.parametrize("blank", ["", "  ", None, 7])
    def test_it_refuses_without_an_audience_or_an_issuer(self, pair: Pair, blank: Any) -> None:
        assert judge(pair.sign(good_claims(aud=blank)), pair.pem, audience=blank) is None
        assert judge(pair.sign(good_claims(iss=blank)), pair.pem, issuer=blank) is None

    def test_it_takes_keys_in_every_form(self, pair: Pair) -> None:
        jwks = {"keys": [{"kty": "oct", "k": "AA"}, pair.jwk]}
        forms: list[Any] = [pair.pem, pair.pem.encode(), pair.jwk, json.dumps(pair.jwk), jwks, json.dumps(jwks)]
        for form in [*forms, PinnedKeys([read_jwk(pair.jwk)])]:
            assert judge(pair.sign(good_claims()), form) == good_claims()

    def test_it_takes_the_url_of_a_set_and_fetches_it_once(self, host: Host, pair: Pair) -> None:
        host.publish(pair.jwk)
        for _ in range(3):
            assert judge(pair.sign(good_claims()), host.url) == good_claims()
        assert host.calls == 1

    def test_it_never_raises_whatever_the_keys_do(self, pair: Pair) -> None:
        class Broken:
            def ready(self) -> bool:
                raise RuntimeError

            def find(self, kid: str | None, algorithm: str) -> Any:
                raise RuntimeError(f"{kid} {algorithm}")

        assert judge(pair.sign(good_claims()), Broken()) is None

    def test_it_answers_none_when_the_keys_cannot_be_had(self, pair: Pair) -> None:
        assert judge(pair.sign(good_claims()), "https://127.0.0.1:1/jwks.json") is None
        assert judge(pair.sign(good_claims()), "http://nas.example/jwks.json") is None

    def test_it_matches_bindings_when_it_is_given_the_body(self, pair: Pair) -> None:
        token = pair.sign(good_claims(job_id="tides.north"))
        assert judge(token, pair.pem)
        assert judge(token, pair.pem, body=BODY)
        assert judge(token, pair.pem, body=b'{"job_id": "tides.south"}') is None
