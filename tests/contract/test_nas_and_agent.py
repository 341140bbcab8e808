"""The agent's own parts against a real NAS: what one says, the other understands."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from hermes_cron import contract
from hermes_cron.arm import Order
from hermes_cron.clock import monotonic, utc_now
from hermes_cron.errors import NasRefused, TokenRejected
from hermes_cron.providers.chronos.client import NasClient
from hermes_cron.providers.chronos.standing import Standing
from hermes_cron.providers.chronos.token import token_source
from hermes_cron.settings import ChronosSettings, CronSettings, Secret
from hermes_cron.verify import get_fire_verifier
from tests.contract.nas_parts import AUDIENCE, PUBLIC_URL, AgentServer, Caller, Place, instant


@pytest.mark.parametrize("alg", ["ES256", "RS256", "EdDSA"])
def test_i4_the_agents_verifier_takes_a_fire_of_nas_and_no_other_body(
    place: Place, caller: Caller, agent: AgentServer, tmp_path: Path, alg: str
) -> None:
    place.nas.keys.rotate(alg, overlap=0)
    chronos = ChronosSettings(
        portal_url=PUBLIC_URL, callback_url=agent.url, expected_audience=AUDIENCE, require_bound_tokens=True,
        nas_jwks_url=place.base + contract.JWKS_PATH, access_token=Secret("x"),
    )  # fmt: skip
    verifier = get_fire_verifier(CronSettings(chronos=chronos), home=tmp_path)
    caller.provision("job", instant(), agent.url)
    got = agent.fire()
    assert verifier(got.token, got.raw)["job_id"] == "job"
    with pytest.raises(TokenRejected):
        verifier(got.token, got.raw.replace(b"job", b"jab"))


def test_the_agents_client_arms_lists_and_disarms(place: Place, agent: AgentServer) -> None:
    settings = ChronosSettings(access_token=Secret(place.agent().token))
    tokens = token_source(settings)
    client = NasClient(place.base, agent.url, tokens, Standing(tokens.stamp))
    at = (utc_now() + timedelta(days=1)).replace(microsecond=5)
    assert client.capabilities(30).batch == contract.BATCH_LIMIT
    client.do(Order("one", "t", at, at))
    orders = [Order(f"job{n}", "t", at, at) for n in range(450)]
    assert not any(client.do_all([*orders, Order("one", "t", None, None)]).values())
    assert client.armed(monotonic() + 30) == {order.job_id: at for order in orders}
    client.do(Order("job0", "t", None, None))
    assert len(client.armed(monotonic() + 30)) == 449
    place.nas.agents.revoke("one")
    with pytest.raises(NasRefused) as caught:
        client.do(orders[0])
    assert caught.value.reason == "invalid_client"
    client.close()
