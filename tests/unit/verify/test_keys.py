"""Which keys may judge a token: JWK metadata obeyed, odd keys passed over, pinned keys from text and file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from jwt.algorithms import RSAAlgorithm

from hermes_cron.errors import ConfigError, TokenRejected
from hermes_cron.verify.keys import PinnedKeys, pinned_keys, read_jwk, read_jwks, read_keys, read_pem
from hermes_cron.verify.reasons import Reason
from tests.unit.verify.mint import Pair, new_pair


def pem_of(private: Any) -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(private.public_key().public_bytes(serialization.Encoding.PEM, kind).decode())


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA"])
def test_a_key_without_alg_may_verify_what_its_curve_says(algorithm: str) -> None:
    jwk = {name: value for name, value in new_pair(algorithm, "k").jwk.items() if name != "alg"}
    assert read_jwk(jwk).algorithms == {algorithm}


def test_an_rsa_key_without_alg_may_verify_its_family(rsa_pair: Pair) -> None:
    assert read_pem(rsa_pair.pem).algorithms == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"use": None},
        {"key_ops": ["encrypt"]},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"alg": "ES384"},
        {"alg": "RS256"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": None},
        {"alg": ["ES256"]},
        {"kid": 7},
        {"kid": ["a"]},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA"},
        {"kty": "OKP"},
        {"kty": None},
        {"kty": {}},
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"x": "AAAA"},
        {"x": 7},
        {"x": "AA" * 43},
        {"y": "!"},
        {"d": "AAAA"},
    ],
    ids=str,
)
def test_a_jwk_that_is_not_for_this_is_refused_and_spoils_no_set(pair: Pair, other: Pair, change: Any) -> None:
    odd = pair.jwk | change
    with pytest.raises(ValueError, match=r"^its? "):
        read_jwk(odd)
    assert [key.kid for key in read_jwks({"keys": [odd, other.jwk]})] == [other.kid]


@pytest.mark.parametrize("odd", [None, 7, "text", [], {}, {"kty": "EC"}, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}])
def test_what_is_no_key_at_all_spoils_no_set(odd: object, other: Pair) -> None:
    assert len(read_jwks({"keys": [odd, other.jwk, odd]})) == 1


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": []}, {"keys": [{"kty": "oct"}]}])
def test_a_set_without_a_usable_key_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="it has no"):
        read_jwks(document)


def test_a_key_that_says_verify_is_taken(pair: Pair) -> None:
    assert read_jwk(pair.jwk | {"key_ops": ["verify"]}).kid == pair.kid


def test_short_rsa_keys_are_refused() -> None:
    private = rsa.generate_private_key(65537, 1024)
    with pytest.raises(ValueError, match="2048"):
        read_pem(pem_of(private))
    with pytest.raises(ValueError, match="2048"):
        read_jwk(RSAAlgorithm.to_jwk(private.public_key(), as_dict=True))


def test_an_rsa_key_of_a_known_broken_maker_is_refused(rsa_pair: Pair) -> None:
    # Not of that maker, but made to look like it: a power of 65537 modulo each of the small primes.
    product = 11 * 13 * 17 * 19 * 37 * 53 * 61 * 71 * 73 * 79 * 97 * 103 * 107 * 109 * 127 * 151 * 157
    modulus = (1 << 2047) + product - (1 << 2047) % product + pow(65537, 5, product)
    modulus += product * (modulus % 2 == 0)
    text = base64.urlsafe_b64encode(modulus.to_bytes(256, "big")).decode().rstrip("=")
    with pytest.raises(ValueError, match="factored"):
        read_jwk(rsa_pair.jwk | {"n": text})


@pytest.mark.parametrize("private", [dsa.generate_private_key(2048), ec.generate_private_key(ec.SECP256K1())])
def test_other_kinds_of_keys_are_refused(private: Any) -> None:
    with pytest.raises(ValueError, match="it is not a public"):
        read_pem(pem_of(private))


def test_ed448_is_eddsa_too() -> None:
    assert read_pem(pem_of(ed448.Ed448PrivateKey.generate())).algorithms == {"EdDSA"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
)
def test_a_text_without_a_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"it is not|Expecting"):
        read_keys(text)


def test_a_text_with_two_keys_is_refused(pair: Pair, other: Pair) -> None:
    with pytest.raises(ValueError, match="not one key"):
        read_keys(pair.pem + other.pem)


class TestPinned:
    def test_a_pem_is_good_for_any_kid(self, pair: Pair) -> None:
        keys = pinned_keys(pair.pem)
        assert keys.ready()
        assert keys.find("whatever", "ES256") == keys.find(None, "ES256")
        with pytest.raises(TokenRejected) as caught:
            keys.find(None, "ES384")
        assert caught.value.reason == Reason.WRONG_KEY

    def test_a_jwk_with_an_id_is_good_for_that_one_only(self, pair: Pair) -> None:
        keys = pinned_keys(json.dumps(pair.jwk))
        assert keys.find(pair.kid, "ES256")
        with pytest.raises(TokenRejected) as caught:
            keys.find("another", "ES256")
        assert caught.value.reason == Reason.UNKNOWN_KEY

    def test_a_set_may_be_pinned_to_rotate_by_hand(self, pair: Pair, other: Pair) -> None:
        keys = pinned_keys(json.dumps({"keys": [pair.jwk, other.jwk]}))
        assert keys.find(other.kid, "ES256")[0].kid == other.kid

    def test_it_may_be_in_a_file(self, pair: Pair, tmp_path: Path) -> None:
        for name, text in (("a.pem", pair.pem), ("a.json", json.dumps(pair.jwk))):
            (tmp_path / name).write_text(text)
            assert pinned_keys(str(tmp_path / name)).find(pair.kid, "ES256")

    @pytest.mark.parametrize("text", ["/no/such/file", "nonsense", "{}", "\0", "~nobody-here/x", "x" * 5000])
    def test_what_gives_no_key_is_named_with_its_field(self, text: str) -> None:
        with pytest.raises(ConfigError) as caught:
            pinned_keys(text)
        assert caught.value.field == "cron.chronos.nas_public_key"
        assert caught.value.hint

    def test_a_private_key_is_refused_and_not_repeated(self, pair: Pair, tmp_path: Path) -> None:
        text = pair.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        (tmp_path / "private.pem").write_text(text)
        for given in (text, str(tmp_path / "private.pem")):
            with pytest.raises(ConfigError, match="private key") as caught:
                pinned_keys(given)
            assert text.splitlines()[1] not in str(caught.value)

    def test_two_keys_without_an_id_are_ambiguous(self, pair: Pair, other: Pair) -> None:
        keys = PinnedKeys([read_pem(pair.pem), read_pem(other.pem)])
        with pytest.raises(TokenRejected) as caught:
            keys.find(None, "ES256")
        assert caught.value.reason == Reason.AMBIGUOUS_KEY
