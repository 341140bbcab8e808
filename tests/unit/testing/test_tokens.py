"""The token minter, held against the real verifier, its yes-or-no form, and the real webhook."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import falcon
import falcon.testing
import pytest

from hermes_cron.errors import ConfigError, TimeInvalid, TokenRejected
from hermes_cron.nas.delivery import fire_body
from hermes_cron.settings import ChronosSettings, CronSettings
from hermes_cron.testing import BAD_TOKENS, TokenMinter
from hermes_cron.verify import get_fire_verifier
from hermes_cron.verify.reasons import Reason
from hermes_cron.verify.token import verify_nas_fire_token
from hermes_cron.webhook import FireWebhook
from tests.unit.parts import NOON, FakeClock, ListBroker

AUDIENCE, ISSUER = "agent:reports", "https://nas.example.org"
BODY = fire_body("tide", NOON)


@pytest.fixture(scope="module")
def minter() -> TokenMinter:
    return TokenMinter(AUDIENCE, ISSUER, clock=FakeClock())


def judged(minter: TokenMinter, token: str, body: bytes | None = BODY) -> object:
    return verify_nas_fire_token(token, AUDIENCE, minter.public_key, ISSUER, body=body, clock=FakeClock())


@pytest.mark.parametrize("alg", ["ES256", "RS256", "EdDSA"])
def test_a_good_token_is_good(alg: str) -> None:
    minter = TokenMinter(AUDIENCE, ISSUER, clock=FakeClock(), alg=alg)
    claims = judged(minter, minter.mint("tide", NOON))
    assert isinstance(claims, dict)
    assert (claims["job_id"], claims["aud"], claims["iss"]) == ("tide", AUDIENCE, ISSUER)
    assert verify_nas_fire_token(minter.mint("tide", NOON), AUDIENCE, minter.jwks, ISSUER, clock=FakeClock())


def test_it_is_good_by_the_clock_of_this_machine_unless_told_otherwise() -> None:
    minter = TokenMinter(AUDIENCE, ISSUER)
    assert verify_nas_fire_token(minter.mint("tide", NOON), AUDIENCE, minter.public_key, ISSUER)


def test_a_token_is_not_good_for_long(minter: TokenMinter) -> None:
    late = FakeClock(NOON + timedelta(minutes=3))
    assert verify_nas_fire_token(minter.mint("tide", NOON), AUDIENCE, minter.public_key, ISSUER, clock=late) is None


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_i4_a_bad_token_is_refused_for_the_one_thing_that_is_wrong_with_it(
    kind: str, minter: TokenMinter, tmp_path: Path
) -> None:
    settings = CronSettings(
        chronos=ChronosSettings(portal_url=ISSUER, expected_audience=AUDIENCE, nas_public_key=minter.public_key)
    )
    # Only among several keys is one unknown: a single pinned key stands for whatever id.
    verifier = get_fire_verifier(settings, home=tmp_path, clock=FakeClock())
    token = minter.mint_bad(kind, "tide", NOON)
    with pytest.raises(TokenRejected) as refused:
        verifier(token, BODY)
    assert refused.value.reason == BAD_TOKENS[kind]
    assert judged(minter, token) is None


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_the_webhook_refuses_every_bad_token_alike(kind: str, minter: TokenMinter, tmp_path: Path) -> None:
    settings = CronSettings(
        chronos=ChronosSettings(portal_url=ISSUER, expected_audience=AUDIENCE, nas_public_key=minter.public_key)
    )
    broker = ListBroker()
    app = falcon.App()
    app.add_route("/api/cron/fire", FireWebhook(get_fire_verifier(settings, home=tmp_path, clock=FakeClock()), broker))
    client = falcon.testing.TestClient(app)

    def post(token: str) -> falcon.testing.Result:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return client.simulate_post("/api/cron/fire", body=BODY, headers=headers)

    refused = post(minter.mint_bad(kind, "tide", NOON))
    assert (refused.status_code, refused.json) == (401, {"error": "invalid fire token"})
    assert not broker.fires
    assert post(minter.mint("tide", NOON)).status_code == 202
    assert [fire.job_id for fire in broker.fires] == ["tide"]


def test_there_is_a_bad_token_for_each_thing_that_a_sender_can_get_wrong() -> None:
    ours = {Reason.NOT_CONFIGURED, Reason.UNBOUND, Reason.AMBIGUOUS_KEY, Reason.WRONG_KEY}
    odd = {Reason.HEADER, Reason.CRITICAL, Reason.CLAIMS}
    assert set(BAD_TOKENS.values()) == set(Reason) - ours - odd


def test_claims_can_be_set_and_left_out(minter: TokenMinter) -> None:
    unbound = minter.mint("tide", NOON, claims={"job_id": None, "fire_at": None, "body_sha256": None, "jti": "1"})
    claims = judged(minter, unbound, b'{"job_id": "another"}')
    assert isinstance(claims, dict)
    assert (claims["jti"], "job_id" in claims) == ("1", False)


def test_a_token_can_be_bound_to_other_bytes_of_the_same_fire(minter: TokenMinter) -> None:
    body = json.dumps({"fire_at": NOON.isoformat(), "job_id": "tide", "more": 1}).encode()
    assert judged(minter, minter.mint("tide", NOON, body=body), body)
    assert judged(minter, minter.mint("tide", NOON), body) is None


def test_what_cannot_be_minted_is_told_in_words(minter: TokenMinter) -> None:
    with pytest.raises(ConfigError, match="wrong_audience"):
        minter.mint_bad("odd", "tide", NOON)
    with pytest.raises(TimeInvalid, match="offset"):
        minter.mint("tide", "2026-03-29T06:00")
    with pytest.raises(ConfigError, match="HS256"):
        TokenMinter(alg="HS256")
