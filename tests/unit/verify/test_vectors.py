"""Signatures that others published: the examples of RFC 7515 and RFC 8037, and Wycheproof's JOSE vectors.

Their payloads are no fire tokens, so a good signature is one that is refused for what it signs, in a later step.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hermes_cron import contract
from hermes_cron.errors import TokenRejected
from hermes_cron.verify.keys import PinnedKeys, read_jwk, read_jwks
from hermes_cron.verify.reasons import Reason
from hermes_cron.verify.token import NasVerifier
from tests.unit.verify.mint import AUDIENCE, ISSUER, FakeClock

LATER = {Reason.CLAIMS, Reason.NO_EXPIRY, Reason.EXPIRED, Reason.ISSUER, Reason.AUDIENCE, Reason.PURPOSE}


def reason(jwk: dict[str, Any], token: Any) -> str:
    """Why this token is refused, with this one key or key set pinned."""
    try:
        keys = PinnedKeys(read_jwks(jwk) if "keys" in jwk else [read_jwk(jwk)])
    except ValueError:
        return "unusable key"
    try:
        NasVerifier(keys, AUDIENCE, ISSUER, clock=FakeClock()).claims(token)
    except TokenRejected as refusal:
        return refusal.reason
    raise AssertionError("none of these is a fire token")


JOE = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
EXAMPLES = {
    "RFC 7515 A.2, RS256": (
        {
            "kty": "RSA",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR"
            "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-"
            "UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethF"
            "kMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            "e": "AQAB",
        },
        f"eyJhbGciOiJSUzI1NiJ9.{JOE}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_"
        "lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L0"
        "7Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs"
        "98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        Reason.EXPIRED,
    ),
    "RFC 7515 A.3, ES256": (
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        },
        f"eyJhbGciOiJFUzI1NiJ9.{JOE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-"
        "Kg6NU1Q",
        Reason.EXPIRED,
    ),
    "RFC 7515 A.4, ES512": (
        {
            "kty": "EC",
            "crv": "P-521",
            "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
            "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
        },
        "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB3"
        "4XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
        Reason.CLAIMS,
    ),
    "RFC 8037 A.4, EdDSA": (
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcN"
        "R4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        Reason.CLAIMS,
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_rfc_example_has_a_good_signature(name: str) -> None:
    jwk, token, expected = EXAMPLES[name]
    assert reason(jwk, token) == expected
    head, payload, signature = token.split(".")
    changed = signature[:-5] + ("B" if signature[-5] == "A" else "A") + signature[-4:]
    assert reason(jwk, f"{head}.{payload}.{changed}") == Reason.SIGNATURE


def test_the_symmetric_and_the_unsecured_rfc_examples_are_refused() -> None:
    jwk = EXAMPLES["RFC 7515 A.3, ES256"][0]
    symmetric = f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert reason(jwk, symmetric) == Reason.ALGORITHM
    assert reason(jwk, f"eyJhbGciOiJub25lIn0.{JOE}.") == Reason.FORM


FILES = ("json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json")


def _folder() -> Path | None:
    named = os.environ.get("HERMES_CRON_WYCHEPROOF")
    folder = Path(named) if named else Path(__file__).parents[4] / "shared" / "vectors" / "wycheproof"
    return folder if folder.is_dir() else None


def _tests(file: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    folder = _folder()
    if folder is None:
        pytest.skip("wycheproof: no vectors; name their folder in HERMES_CRON_WYCHEPROOF")
    for group in json.loads((folder / file).read_text())["testGroups"]:
        key = group.get("public") or group["private"]
        for test in group["tests"]:
            yield f"{file} {group['comment']} {test['tcId']} {test['comment']}", key, test


def _is_ours(jwk: dict[str, Any], test: dict[str, Any]) -> bool:
    """Whether a vector is one that we must take: valid, compact, not empty, and signed as its key's `alg` says."""
    token = test.get("jws")
    if test["result"] != "valid" or not isinstance(token, str) or ".." in token:
        return False
    head = token.partition(".")[0]
    algorithm = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["alg"]
    # Some keys taken from RFC 7520 got an `alg` that contradicts their token, and are good only for who ignores it.
    return algorithm in contract.ALGORITHMS and all(key["alg"] == algorithm for key in jwk.get("keys", [jwk]))


@pytest.mark.parametrize("file", FILES)
def test_wycheproof_no_invalid_vector_is_accepted(file: str) -> None:
    wrong = []
    for name, jwk, test in _tests(file):
        if test["result"] != "valid" and reason(jwk, test.get("jws", test.get("jwe"))) in LATER:
            wrong.append(name)
    assert wrong == []


@pytest.mark.parametrize("file", FILES)
def test_wycheproof_every_valid_vector_of_our_kind_is_accepted(file: str) -> None:
    ours = [(name, jwk, test["jws"]) for name, jwk, test in _tests(file) if _is_ours(jwk, test)]
    assert ours
    assert [name for name, jwk, token in ours if reason(jwk, token) not in LATER] == []


@pytest.mark.parametrize("file", FILES)
def test_wycheproof_no_symmetric_vector_is_accepted(file: str) -> None:
    for name, jwk, test in _tests(file):
        if jwk.get("kty") == "oct":
            assert reason(jwk, test.get("jws", test.get("jwe"))) == "unusable key", name
