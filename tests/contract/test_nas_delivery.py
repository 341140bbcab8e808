"""How NAS delivers to an agent that is asleep, slow, broken or wrong (contract, section 4)."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from falcon import testing

from hermes_cron import contract
from hermes_cron.nas import open_nas
from tests.chaos.servers import free_port
from tests.contract.nas_parts import AgentServer, Caller, Got, Place, answer, hang, instant, reset, served
from tests.unit.parts import until


def gap(first: Got, second: Got) -> float:
    return (second.at - first.at).total_seconds()


def test_it_retries_soon_when_a_connection_is_reset(caller: Caller, agent: AgentServer) -> None:
    agent.will(reset, reset)
    caller.provision("job", instant(), agent.url)
    first, second, third = agent.fire(), agent.fire(), agent.fire()
    assert first.body == second.body == third.body
    assert gap(first, third) < 20, "not at the pace of settling"
    assert caller.armed() == caller.dead() == {}


def test_it_reaches_a_machine_that_wakes_up_late(caller: Caller) -> None:
    port = free_port()
    caller.provision("job", instant(), f"http://127.0.0.1:{port}")
    time.sleep(0.5)  # The machine sleeps; there is no clock of ours to turn in its stead.
    woken = AgentServer(port)
    assert woken.fire().body["job_id"] == "job"
    woken.close()


def test_it_honours_retry_after_in_seconds(caller: Caller, agent: AgentServer) -> None:
    agent.will(answer(503, Retry_After="1"), answer(429, Retry_After="1"))
    caller.provision("job", instant(), agent.url)
    first, second, third = agent.fire(), agent.fire(), agent.fire()
    assert 1 <= gap(first, second) < 20
    assert 1 <= gap(second, third) < 20


def test_it_honours_retry_after_as_a_date(caller: Caller, agent: AgentServer) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    agent.will(answer(503, Retry_After=format_datetime(at, usegmt=True)))
    caller.provision("job", instant(), agent.url)
    agent.fire()
    assert agent.fire().at >= at


@pytest.mark.parametrize("status", [301, 302, 307, 403, 404, 408, 410, 429, 500, 502, 503, 504])
def test_it_retries_what_may_pass(caller: Caller, agent: AgentServer, status: int) -> None:
    agent.will(answer(status, Location="http://127.0.0.1:1/"))
    caller.provision("job", instant(), agent.url)
    assert agent.fire().raw == agent.fire().raw


@pytest.mark.parametrize("status", [400, 405, 413, 415])
def test_what_can_never_pass_is_kept_as_dead_with_its_reason(caller: Caller, agent: AgentServer, status: int) -> None:
    agent.will(answer(status))
    caller.provision("job", instant(), agent.url)
    agent.fire()
    caller.wait_for_dead("job")
    assert agent.quiet(0.5)
    assert caller.dead() == {"job": f"the agent answered {status}"}
    assert caller.armed() == {}
    caller.provision("job", instant(), agent.url)
    agent.fire()
    assert caller.dead() == {}


def test_a_refused_token_raises_an_alert_and_is_retried(
    caller: Caller, agent: AgentServer, caplog: pytest.LogCaptureFixture
) -> None:
    agent.will(answer(401))
    caller.provision("job", instant(), agent.url)
    agent.fire()
    agent.fire()
    assert until(lambda: "refused its token" in caplog.text)
    (alert,) = [record for record in caplog.records if "refused its token" in record.getMessage()]
    assert alert.levelno == logging.ERROR
    assert "refused its token: agent=one job_id=job" in alert.getMessage()


def test_an_agent_that_hangs_holds_up_nobody_else(place: Place, caller: Caller, agent: AgentServer) -> None:
    release = threading.Event()
    agent.will(*[hang(release)] * 16)
    for n in range(20):
        caller.provision(f"job{n}", instant(), agent.url)
    first = [agent.fire() for _ in range(16)]
    assert agent.quiet(0.2), "no more than its share at a time"
    other, quick = place.agent("two", "agent:two"), AgentServer()
    other.provision("job", instant(), quick.url)
    assert quick.fire().late_s < 20, "those that hang do so for a minute"
    release.set()
    rest = [agent.fire() for _ in range(4)]
    assert len({got.body["job_id"] for got in first + rest}) == 20
    quick.close()


def test_fires_of_one_instant_leave_together_and_in_time(caller: Caller, agent: AgentServer) -> None:
    medians = []
    while len(medians) < 5 and min(medians, default=1.0) >= 0.1:
        at = instant(2)
        for n in range(16):
            caller.provision(f"job{n}", at, agent.url)
        lates = sorted(agent.fire().late_s for _ in range(16))
        assert lates[0] >= 0
        medians.append(lates[8])
    # A busy machine may hold up some of these instants, hardly all.
    assert min(medians) < 0.1


def test_the_name_is_judged_again_on_the_address_that_is_connected_to(tmp_path: Path, agent: AgentServer) -> None:
    # It was provisioned by a server that allowed it; this one does not.
    with served(tmp_path / "nas") as place:
        caller = place.agent()
        caller.provision("job", instant(4), agent.url)
    with served(tmp_path / "nas", allow_private_callbacks=False) as place:
        assert until(lambda: place.nas.agents.listed()[0].arms == {"trying": 1})
        assert agent.quiet(1)


def test_a_new_key_signs_once_it_was_published(place: Place, caller: Caller, agent: AgentServer) -> None:
    place.nas.keys.rotate("RS256", overlap=0)
    caller.provision("job", instant(), agent.url)
    assert caller.claims(agent.fire())["job_id"] == "job"
    place.nas.keys.rotate("EdDSA", overlap=0, keep=0)
    caller.provision("job", instant(), agent.url)
    assert caller.claims(agent.fire())["job_id"] == "job"
    assert [key["alg"] for key in caller.ask("GET", contract.JWKS_PATH)["keys"]] == ["EdDSA"]


def test_nothing_is_logged_that_opens_a_door(
    caller: Caller, agent: AgentServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "hermes_cron")
    agent.will(answer(503), answer(400))
    caller.provision("job", instant(), agent.url)
    tokens = [agent.fire().token, agent.fire().token, caller.token]
    assert until(lambda: "fire dead: agent=one" in caplog.text)
    assert agent.quiet(0.2)
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "fire failed: agent=one" in logged
    assert "fire dead: agent=one" in logged
    assert not any(token in logged or token.rsplit(".")[-1] in logged for token in tokens)


def test_it_stops_at_once_while_an_agent_hangs(tmp_path: Path, agent: AgentServer) -> None:
    release = threading.Event()
    agent.will(hang(release))
    with served(tmp_path / "nas") as place:
        place.agent().provision("job", instant(), agent.url)
        agent.fire()
        began = time.monotonic()
        place.nas.stop(0.2)
        assert time.monotonic() - began < 20
    release.set()
    with served(tmp_path / "nas"):
        assert agent.fire().body["job_id"] == "job", "what was cut off is delivered again"


def test_what_it_cannot_write_down_it_says(tmp_path: Path) -> None:
    nas = open_nas(tmp_path / "nas", "https://nas.example.org")
    token = nas.agents.add("one", "agent:one")[1].reveal()
    nas.stop(0)
    got = testing.TestClient(nas.app).simulate_get(contract.LIST_PATH, headers={"Authorization": f"Bearer {token}"})
    assert (got.status_code, got.json, got.headers["retry-after"]) == (503, {"error": "store_unreachable"}, "1")
