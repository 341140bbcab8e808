"""The relay: an outside scheduler's signed call, verified before anything else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_cron import contract
from hermes_cron.outbound import Answer
from hermes_cron.settings import Secret
from tests.contract.nas_parts import AgentServer, Caller, Place, answer, instant, served
from tests.unit.parts import until

KEY = b"k" * 32
SECRET = Secret("whsec_" + base64.b64encode(KEY).decode())


@pytest.fixture
def relayed(tmp_path: Path) -> Iterator[Place]:
    """A NAS that knows an outside scheduler."""
    with served(tmp_path / "nas", relay_secret=SECRET) as place:
        yield place


def relay(
    base: str, body: object, *, key: bytes = KEY, call_id: str = "msg_1", age: float = 0, **change: str
) -> Answer:  # fmt: skip
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    stamp = str(int(time.time() - age))
    signature = base64.b64encode(hmac.digest(key, f"{call_id}.{stamp}.".encode() + raw, hashlib.sha256)).decode()
    headers = {
        "Webhook_Id": call_id,
        "Webhook_Timestamp": stamp,
        "Webhook_Signature": f"v1a,x v1,{signature}",
        **change,
    }
    return Caller(base).send("POST", contract.RELAY_PATH, raw, **headers)


def test_it_hurries_an_arm_that_waits_for_a_retry(
    relayed: Place, agent: AgentServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "hermes_cron")
    agent.will(answer(503, Retry_After="30"))
    caller = relayed.agent()
    schedule_id = caller.provision("job", instant(), agent.url)
    agent.fire()
    assert until(lambda: caplog.text.count("fire failed") == 1)
    assert agent.quiet(0.2)
    got = relay(relayed.base, {"schedule_id": schedule_id})
    assert (got.status, json.loads(got.body)) == (202, {"status": "accepted"})
    assert caller.claims(agent.fire())["job_id"] == "job"


def test_it_never_sends_a_fire_early(relayed: Place, agent: AgentServer) -> None:
    at = instant(0.7)
    schedule_id = relayed.agent().provision("job", at, agent.url)
    assert relay(relayed.base, {"schedule_id": schedule_id}).status == 202
    assert agent.fire().late_s >= 0


def test_what_was_replaced_is_gone(relayed: Place, agent: AgentServer) -> None:
    caller = relayed.agent()
    schedule_id = caller.provision("job", instant(60), agent.url)
    caller.provision("job", instant(61), agent.url)
    assert json.loads(relay(relayed.base, {"schedule_id": schedule_id}).body) == {"status": "gone"}


def test_a_repeated_call_changes_nothing(relayed: Place, agent: AgentServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "hermes_cron")
    agent.will(answer(503, Retry_After="30"), answer(503, Retry_After="30"))
    schedule_id = relayed.agent().provision("job", instant(), agent.url)
    agent.fire()
    assert until(lambda: caplog.text.count("fire failed") == 1)
    assert agent.quiet(0.2)
    assert relay(relayed.base, {"schedule_id": schedule_id}).status == 202
    agent.fire()
    assert until(lambda: caplog.text.count("fire failed") == 2)
    assert agent.quiet(0.2)
    assert relay(relayed.base, {"schedule_id": schedule_id}).status == 202
    assert agent.quiet(0.3)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"schedule_id": 5}', b'{"schedule_id": "\xc3\xa9"}'])
def test_a_good_signature_on_nonsense_is_400(relayed: Place, body: bytes) -> None:
    assert relay(relayed.base, body).status == 400


@pytest.mark.parametrize(
    "change",
    [
        {"key": b"other" * 8}, {"age": 400}, {"age": -400}, {"Webhook_Timestamp": "soon"}, {"Webhook_Timestamp": "-1"},
        {"Webhook_Id": "msg_2"}, {"Webhook_Id": ""}, {"Webhook_Signature": ""}, {"Webhook_Signature": "v1,"},
        {"Webhook_Signature": "v2,AAAA"}, {"Webhook_Timestamp": ""},
    ],
)  # fmt: skip
def test_a_call_that_is_not_ours_is_refused_before_its_body_is_read(relayed: Place, change: dict[str, object]) -> None:
    got = relay(relayed.base, b"{", **change)  # type: ignore[arg-type]  # each is one of its parameters.
    assert (got.status, json.loads(got.body)) == (401, {"error": "invalid_signature"})


def test_without_a_secret_every_call_is_refused(place: Place) -> None:
    assert relay(place.base, {"schedule_id": "x"}).status == 401
    assert relay(place.base, {"schedule_id": "x"}, key=b"").status == 401
