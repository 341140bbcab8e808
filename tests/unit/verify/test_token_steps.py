"""The judge of fire tokens, step by step, with the numbers of `NasVerifier`."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from hermes_cron import contract
from hermes_cron.errors import TokenRejected
from hermes_cron.verify.keys import PinnedKeys, read_jwk, read_jwks
from hermes_cron.verify.reasons import Reason
from hermes_cron.verify.token import NasVerifier
from tests.unit.verify.mint import AUDIENCE, BODY, ISSUER, NOW, FakeClock, Pair, good_claims, new_pair, segment


def verdict(token: Any, *pairs: Pair, body: bytes = BODY, require_bound: bool = False) -> str:
    """`good`, or the reason of the refusal."""
    keys = PinnedKeys(read_jwks({"keys": [pair.jwk for pair in pairs]}))
    verifier = NasVerifier(keys, AUDIENCE, ISSUER, require_bound=require_bound, clock=FakeClock())
    try:
        return "good" if verifier(token, body) else "empty"
    except TokenRejected as refusal:
        return refusal.reason


class TestStep1Form:
    def test_it_accepts_a_token_of_the_greatest_length(self, pair: Pair) -> None:
        for pad in range(4000, 6200):
            token = pair.sign(good_claims(pad="x" * pad))
            if len(token) > contract.MAX_TOKEN_BYTES:
                break
            best = token
        assert verdict(best, pair) == "good"
        assert verdict(token, pair) == Reason.FORM

    @pytest.mark.parametrize("end", ["=", "==", "\n", " ", "\0", ".", "+", "/", "é"])
    def test_it_refuses_what_is_not_base64url_without_padding(self, pair: Pair, end: str) -> None:
        parts = pair.sign(good_claims()).split(".")
        for place in range(3):
            changed = [part + end if at == place else part for at, part in enumerate(parts)]
            assert verdict(".".join(changed), pair) == Reason.FORM

    @pytest.mark.parametrize("token", [None, 7, b"a.b.c", ["a.b.c"], "a.b", "a..c", "a.b.c.d.e", ""])
    def test_it_refuses_what_is_not_three_segments_of_text(self, pair: Pair, token: object) -> None:
        assert verdict(token, pair) == Reason.FORM

    def test_it_refuses_a_second_spelling_of_the_same_bytes(self, pair: Pair) -> None:
        token = pair.sign(good_claims())
        # A signature of 64 bytes leaves four bits of the last letter unused.
        twin = token[:-1] + chr(ord(token[-1]) + 1)
        assert verdict(twin, pair) != "good"


class TestStep2Header:
    @pytest.mark.parametrize(
        "header",
        [b"", b"[]", b"7", b"null", b"{", b"\xff{}", b'\xef\xbb\xbf{"alg":"ES256"}', b"[" * 5000, b'{"a":' * 1100],
        ids=range(9),
    )
    def test_it_refuses_what_is_not_a_json_object(self, pair: Pair, header: bytes) -> None:
        assert verdict(f"{segment(header) or 'A'}.{segment(good_claims())}.AA", pair) == Reason.HEADER

    def test_it_refuses_a_name_that_stands_there_twice(self, pair: Pair) -> None:
        header = segment(b'{"alg":"none","alg":"ES256"}')
        assert verdict(f"{header}.{segment(good_claims())}.AA", pair) == Reason.HEADER

    @pytest.mark.parametrize(
        "alg", ["HS256", "HS384", "HS512", "none", "es256", "ES256 ", "ES256K", "RSA-OAEP", "", None, 7, ["ES256"], {}]
    )
    def test_it_refuses_another_algorithm_before_it_looks_up_a_key(self, alg: object) -> None:
        class Untouchable:
            def ready(self) -> bool:
                raise AssertionError

            def find(self, kid: str | None, algorithm: str) -> Any:
                raise AssertionError

        verifier = NasVerifier(Untouchable(), AUDIENCE, ISSUER, clock=FakeClock())
        with pytest.raises(TokenRejected) as caught:
            verifier(f"{segment({'alg': alg, 'kid': 'k'})}.{segment(good_claims())}.AA", BODY)
        assert caught.value.reason == Reason.ALGORITHM

    def test_it_refuses_a_missing_algorithm(self, pair: Pair) -> None:
        assert verdict(f"{segment({})}.{segment(good_claims())}.AA", pair) == Reason.ALGORITHM

    @pytest.mark.parametrize("kid", [None, 7, ["es-1"], {"a": 1}, True])
    def test_it_refuses_a_kid_that_is_not_text(self, pair: Pair, kid: object) -> None:
        token = f"{segment({'alg': 'ES256', 'kid': kid})}.{segment(good_claims())}.AA"
        assert verdict(token, pair) == Reason.HEADER

    @pytest.mark.parametrize("more", [{"crit": ["exp"]}, {"crit": []}, {"crit": ["b64"], "b64": True}, {"b64": False}])
    def test_it_refuses_what_is_critical(self, pair: Pair, more: dict[str, Any]) -> None:
        header = segment({"alg": "ES256", "kid": pair.kid} | more)
        assert verdict(f"{header}.{segment(good_claims())}.AA", pair) == Reason.CRITICAL

    def test_it_never_reads_a_key_or_an_address_from_the_token(self, pair: Pair, other: Pair) -> None:
        places = dict.fromkeys(("jku", "x5u"), "http://127.0.0.1:1/")
        header = places | {"jwk": other.jwk, "x5c": ["AAAA"], "kid": pair.kid}
        assert verdict(pair.sign(good_claims(), header), pair) == "good"
        assert verdict(other.sign(good_claims(), header), pair) == Reason.SIGNATURE


class TestStep3Key:
    @pytest.mark.parametrize("algorithm", contract.ALGORITHMS)
    def test_it_accepts_every_algorithm_of_the_contract(self, algorithm: str, rsa_pair: Pair) -> None:
        signer = Pair(rsa_pair.private, algorithm, "k") if algorithm[1] == "S" and algorithm[0] != "E" else None
        signer = signer or new_pair(algorithm, "k")
        assert verdict(signer.sign(good_claims()), signer) == "good"

    def test_it_refuses_an_unknown_kid(self, pair: Pair, other: Pair) -> None:
        assert verdict(other.sign(good_claims()), pair) == Reason.UNKNOWN_KEY
        assert verdict(pair.sign(good_claims(), {"kid": "\ud800"}), pair) == Reason.UNKNOWN_KEY
        assert verdict(pair.sign(good_claims(), {"kid": "../../etc/passwd"}), pair) == Reason.UNKNOWN_KEY

    def test_it_refuses_an_algorithm_that_is_not_the_keys_own(self, rsa_pair: Pair) -> None:
        assert verdict(rsa_pair.sign(good_claims(), algorithm="RS512"), rsa_pair) == Reason.WRONG_KEY
        assert verdict(rsa_pair.sign(good_claims(), algorithm="PS256"), rsa_pair) == Reason.WRONG_KEY

    def test_it_refuses_an_algorithm_of_another_family_or_curve(self, pair: Pair) -> None:
        for alg in ("RS256", "ES384", "EdDSA"):
            token = f"{segment({'alg': alg, 'kid': pair.kid})}.{segment(good_claims())}.AA"
            assert verdict(token, pair) == Reason.WRONG_KEY

    def test_it_takes_a_token_without_a_kid_only_where_one_key_can_be_meant(self, pair: Pair, other: Pair) -> None:
        token = _without_kid(pair)
        assert verdict(token, pair) == "good"
        assert verdict(token, pair, other) == Reason.AMBIGUOUS_KEY

    def test_it_is_not_confused_by_two_keys_of_one_kid(self, pair: Pair, other: Pair) -> None:
        twin = Pair(other.private, other.algorithm, pair.kid)
        assert verdict(pair.sign(good_claims()), pair, twin) == "good"
        assert verdict(twin.sign(good_claims()), pair, twin) == "good"
        assert verdict(new_pair("ES256", pair.kid).sign(good_claims()), pair, twin) == Reason.SIGNATURE


class TestStep4Signature:
    def test_it_refuses_another_keys_signature(self, pair: Pair, other: Pair) -> None:
        assert verdict(other.sign(good_claims(), {"kid": pair.kid}), pair) == Reason.SIGNATURE

    def test_it_refuses_an_empty_or_a_zero_signature(self, pair: Pair) -> None:
        signed = pair.sign(good_claims()).rpartition(".")[0]
        assert verdict(f"{signed}.", pair) == Reason.FORM
        assert verdict(f"{signed}.{segment(bytes(64))}", pair) == Reason.SIGNATURE
        assert verdict(f"{signed}.{segment(bytes(63))}", pair) == Reason.SIGNATURE

    def test_it_refuses_a_header_that_was_changed(self, pair: Pair) -> None:
        _, claims, signature = pair.sign(good_claims()).split(".")
        head = segment({"alg": "ES256", "kid": pair.kid, "typ": "at+jwt"})
        assert verdict(f"{head}.{claims}.{signature}", pair) == Reason.SIGNATURE


NUMBERS = ["1773478800", True, None, [], {}, 1e300, -1e300, 10**400]


class TestStep5Claims:
    @pytest.mark.parametrize("payload", [b"[]", b"7", b"null", b"{", b"\xff", b"[" * 4000, b'{"exp": 1, "exp": 2}'])
    def test_it_refuses_what_is_not_one_json_object(self, pair: Pair, payload: bytes) -> None:
        assert verdict(pair.sign(payload), pair) == Reason.CLAIMS

    @pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
    @pytest.mark.parametrize("value", NUMBERS, ids=range(len(NUMBERS)))
    def test_it_refuses_a_time_that_is_not_a_finite_number(self, pair: Pair, name: str, value: object) -> None:
        assert verdict(pair.sign(good_claims(**{name: value})), pair) == Reason.CLAIMS

    @pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 5000])
    def test_it_refuses_a_number_that_is_none(self, pair: Pair, text: str) -> None:
        payload = json.dumps(good_claims(exp=0)).replace('"exp": 0', f'"exp": {text}')
        assert verdict(pair.sign(payload.encode()), pair) == Reason.CLAIMS

    def test_it_takes_fractions_of_a_second(self, pair: Pair) -> None:
        assert verdict(pair.sign(good_claims(exp=NOW.timestamp() + 60.5)), pair) == "good"

    @pytest.mark.parametrize("claim", [{"jti": 7}, {"sub": None}, {"aud": [AUDIENCE, 7]}])
    def test_it_refuses_a_name_that_is_not_text(self, pair: Pair, claim: dict[str, Any]) -> None:
        assert verdict(pair.sign(good_claims(**claim)), pair) == Reason.CLAIMS


class TestStep6Time:
    AT = int(NOW.timestamp())

    @pytest.mark.parametrize(
        ("claims", "expected"),
        [
            ({"exp": ...}, Reason.NO_EXPIRY),
            ({"iat": AT - 100, "nbf": ..., "exp": AT - 29}, "good"),
            ({"iat": AT - 100, "nbf": ..., "exp": AT - 30}, Reason.EXPIRED),
            ({"nbf": AT + 30}, "good"),
            ({"nbf": AT + 31}, Reason.NOT_YET),
            ({"iat": AT + 30}, "good"),
            ({"iat": AT + 31}, Reason.NOT_YET),
            ({"exp": AT + 900}, "good"),
            ({"exp": AT + 901}, Reason.LIFE),
            ({"iat": AT - 880, "exp": AT + 21}, Reason.LIFE),
            ({"iat": ..., "nbf": ...}, "good"),
            ({"iat": ..., "nbf": ..., "exp": AT + 900}, "good"),
            ({"iat": ..., "nbf": ..., "exp": AT + 901}, Reason.LIFE),
            ({"exp": 0}, Reason.EXPIRED),
            ({"exp": -5}, Reason.EXPIRED),
        ],
    )
    def test_it_keeps_to_the_leeway_and_to_a_short_life(self, pair: Pair, claims: Any, expected: str) -> None:
        assert verdict(pair.sign(good_claims(**claims)), pair) == expected


class TestStep7Issuer:
    @pytest.mark.parametrize(
        "issuer", [..., None, "", ISSUER[:-1], ISSUER + "/", ISSUER.upper(), [ISSUER], {"a": ISSUER}, f" {ISSUER}"]
    )
    def test_it_takes_exactly_nas(self, pair: Pair, issuer: object) -> None:
        assert verdict(pair.sign(good_claims(iss=issuer)), pair) == Reason.ISSUER


class TestStep8Audience:
    @pytest.mark.parametrize("audience", [[AUDIENCE], ["agent:other", AUDIENCE]])
    def test_it_takes_a_list_with_this_agent(self, pair: Pair, audience: list[str]) -> None:
        assert verdict(pair.sign(good_claims(aud=audience)), pair) == "good"

    @pytest.mark.parametrize(
        "audience", [..., None, "", [], AUDIENCE[:-1], AUDIENCE + "2", ["agent:other"], {AUDIENCE: 1}, 7, "*"]
    )
    def test_i4_it_refuses_a_token_for_another_agent(self, pair: Pair, audience: object) -> None:
        assert verdict(pair.sign(good_claims(aud=audience)), pair) == Reason.AUDIENCE


class TestStep9Purpose:
    @pytest.mark.parametrize(
        "purpose", [..., None, "", "CRON_FIRE", "cron_fire ", ["cron_fire"], True, {"cron_fire": 1}]
    )
    def test_i4_it_refuses_a_token_for_another_purpose(self, pair: Pair, purpose: object) -> None:
        assert verdict(pair.sign(good_claims(purpose=purpose)), pair) == Reason.PURPOSE


DIGEST = hashlib.sha256(BODY).hexdigest()
ALL_BOUND = {"job_id": "tides.north", "fire_at": "2026-03-14T09:00:00Z", "body_sha256": DIGEST}


class TestStep10Bindings:
    def test_it_accepts_what_matches(self, pair: Pair) -> None:
        assert verdict(pair.sign(good_claims(**ALL_BOUND)), pair, require_bound=True) == "good"

    def test_it_compares_instants_as_instants(self, pair: Pair) -> None:
        for text in ("2026-03-14T10:00:00+01:00", "2026-03-14T09:00:00.000Z", "20260314T090000Z"):
            assert verdict(pair.sign(good_claims(fire_at=text)), pair) == "good"

    @pytest.mark.parametrize("value", [None, 7, "", "tides.south", "Tides.North", ["tides.north"], {}])
    def test_i4_it_refuses_a_token_for_another_job(self, pair: Pair, value: object) -> None:
        assert verdict(pair.sign(good_claims(job_id=value)), pair) == Reason.JOB

    @pytest.mark.parametrize(
        "value", [None, 7, "", "2026-03-14T09:00:01Z", "2026-03-14T09:00:00", "9999-12-31T23:59:59-23:00", [], {}]
    )
    def test_i4_it_refuses_a_token_for_another_instant(self, pair: Pair, value: object) -> None:
        assert verdict(pair.sign(good_claims(fire_at=value)), pair) == Reason.INSTANT
        assert verdict(pair.sign(good_claims(fire_at=value)), pair, body=b'{"job_id": "a"}') == Reason.INSTANT

    @pytest.mark.parametrize("value", [None, 7, "", DIGEST[:-1], DIGEST + "\n", "0" * 64, [DIGEST], "é" * 64])
    def test_i4_it_refuses_a_token_for_another_body(self, pair: Pair, value: object) -> None:
        assert verdict(pair.sign(good_claims(body_sha256=value)), pair) == Reason.BODY

    def test_it_takes_the_digest_of_the_exact_bytes(self, pair: Pair) -> None:
        token = pair.sign(good_claims(body_sha256=DIGEST.upper()))
        assert verdict(token, pair) == "good"
        assert verdict(token, pair, body=BODY + b" ") == Reason.BODY

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"job_id": 7}', b'{"job_id": "a", "job_id": "tides.north"}'])
    def test_it_refuses_a_body_that_a_binding_cannot_be_read_from(self, pair: Pair, body: bytes) -> None:
        assert verdict(pair.sign(good_claims(job_id="tides.north")), pair, body=body) == Reason.BODY

    def test_it_does_not_judge_a_body_that_nothing_is_bound_to(self, pair: Pair) -> None:
        assert verdict(pair.sign(good_claims()), pair, body=b"{") == "good"

    @pytest.mark.parametrize(
        ("bound", "body", "expected"),
        [
            ([], BODY, Reason.UNBOUND),
            (["fire_at"], BODY, Reason.UNBOUND),
            (["job_id"], BODY, Reason.UNBOUND),
            (["job_id"], b'{"job_id": "tides.north"}', "good"),
            (["job_id", "fire_at"], BODY, "good"),
            (["body_sha256"], BODY, "good"),
        ],
    )
    def test_it_refuses_unbound_tokens_if_so_set(self, pair: Pair, bound: Any, body: bytes, expected: str) -> None:
        claims = good_claims(**{name: ALL_BOUND[name] for name in bound})
        assert verdict(pair.sign(claims), pair, body=body) == "good"
        assert verdict(pair.sign(claims), pair, body=body, require_bound=True) == expected


def test_no_refusal_says_in_words_what_was_wanted(pair: Pair) -> None:
    verifier = NasVerifier(PinnedKeys([read_jwk(pair.jwk)]), AUDIENCE, ISSUER, clock=FakeClock())
    with pytest.raises(TokenRejected) as caught:
        verifier(pair.sign(good_claims(aud="x")), BODY)
    assert AUDIENCE not in str(caught.value)


def _without_kid(pair: Pair) -> str:
    import jwt

    return jwt.PyJWS().encode(json.dumps(good_claims()).encode(), pair.private, pair.algorithm)
