"""The wire of NAS over HTTP: what is armed, what comes, what is refused (docs/chronos-managed-cron-contract.md)."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import pytest

from hermes_cron import contract
from hermes_cron.nas.limits import Limits
from tests.contract.nas_parts import PUBLIC_URL, AgentServer, Caller, Place, answer, hang, instant, served
from tests.unit.parts import until

FAR = "2099-01-01T00:00:00+00:00"


def test_it_delivers_at_the_instant_and_never_before(caller: Caller, agent: AgentServer) -> None:
    lates: list[float] = []
    while len(lates) < 3 or (min(lates) >= 0.05 and len(lates) < 20):
        caller.provision("job", instant(0.3), agent.url)
        lates.append(agent.fire().late_s)
    assert 0 <= min(lates) < 0.05


def test_it_delivers_a_bound_token(caller: Caller, agent: AgentServer) -> None:
    at = instant()
    caller.provision("job", at, agent.url + "/")
    got = agent.fire()
    assert (got.path, got.body) == (contract.FIRE_PATH, {"job_id": "job", "fire_at": at})
    claims = caller.claims(got)
    assert claims["purpose"] == contract.PURPOSE
    assert claims["iss"] == PUBLIC_URL
    assert claims["exp"] - claims["iat"] == 120
    assert (claims["job_id"], claims["fire_at"]) == ("job", at)
    assert claims["body_sha256"] == hashlib.sha256(got.raw).hexdigest()
    assert claims["jti"]


def test_each_attempt_has_a_token_of_its_own(caller: Caller, agent: AgentServer) -> None:
    agent.will(answer(503))
    caller.provision("job", instant(), agent.url)
    first, second = caller.claims(agent.fire()), caller.claims(agent.fire())
    assert first["jti"] != second["jti"]


def test_i10_the_same_fire_twice_is_armed_once(caller: Caller, agent: AgentServer) -> None:
    first = caller.provision("job", FAR, agent.url)
    assert caller.provision("job", FAR, agent.url) == first
    assert caller.provision("job", FAR.replace("+00:00", "Z"), agent.url) == first
    assert caller.armed() == {"job": FAR}


def test_a_new_instant_replaces_the_old(caller: Caller, agent: AgentServer) -> None:
    first = caller.provision("job", instant(3), agent.url)
    assert caller.provision("job", FAR, agent.url) != first
    assert caller.armed() == {"job": FAR}
    assert agent.quiet(3.5)


def test_a_past_instant_is_delivered_at_once_and_not_dropped(caller: Caller, agent: AgentServer) -> None:
    caller.provision("job", "2001-01-01T00:00:00+00:00", agent.url)
    assert agent.fire().body["fire_at"] == "2001-01-01T00:00:00+00:00"


def test_cancel_is_for_ever_and_for_unknown_jobs_too(caller: Caller, agent: AgentServer) -> None:
    caller.cancel("unknown")
    caller.provision("job", instant(3), agent.url)
    caller.cancel("job")
    assert caller.armed() == {}
    assert agent.quiet(3.5)


def test_sentinels_are_jobs_like_others(caller: Caller, agent: AgentServer) -> None:
    caller.provision("_wake.1", FAR, agent.url)
    assert caller.armed() == {"_wake.1": FAR}


def test_calls_about_a_job_work_while_its_fire_is_in_flight(caller: Caller, agent: AgentServer) -> None:
    release = threading.Event()
    agent.will(hang(release))
    at = instant()
    first = caller.provision("job", at, agent.url)
    agent.fire()
    assert caller.armed() == {}, "a row in delivery is not armed"
    assert caller.provision("job", FAR, agent.url) != first
    assert caller.armed() == {"job": FAR}, "it was armed anew during the delivery"
    release.set()
    assert agent.quiet(0.3)
    assert caller.armed() == {"job": FAR}, "the end of the delivery must leave the new arm alone"


def test_its_own_key_during_and_after_a_delivery_is_a_new_arm(caller: Caller, agent: AgentServer) -> None:
    release = threading.Event()
    agent.will(hang(release))
    at = instant()
    first = caller.provision("job", at, agent.url)
    agent.fire()
    second = caller.provision("job", at, agent.url)
    assert agent.fire().body["fire_at"] == at
    release.set()
    third = caller.provision("job", at, agent.url)
    assert agent.fire().body["fire_at"] == at
    assert len({first, second, third}) == 3


def test_an_instant_that_was_replaced_is_not_retried(caller: Caller, agent: AgentServer) -> None:
    agent.will(answer(503, Retry_After="3"))
    caller.provision("job", instant(), agent.url)
    agent.fire()
    caller.provision("job", FAR, agent.url)
    assert agent.quiet(4)
    assert caller.armed() == {"job": FAR}


def test_a_cancel_in_flight_ends_the_retries(caller: Caller, agent: AgentServer) -> None:
    release = threading.Event()
    agent.will(lambda handler: (release.wait(60), answer(503)(handler)))
    caller.provision("job", instant(), agent.url)
    agent.fire()
    caller.cancel("job")
    release.set()
    assert agent.quiet(0.5)


def test_a_delivered_fire_comes_again_until_it_is_answered(tmp_path: Path, agent: AgentServer) -> None:
    with served(tmp_path / "nas", settle=0.8) as place:
        caller = place.agent()
        at = instant()
        caller.provision("job", at, agent.url)
        first, second, third = agent.fire(), agent.fire(), agent.fire()
        assert first.body == second.body == third.body == {"job_id": "job", "fire_at": at}
        assert (second.at - first.at).total_seconds() >= 0.8
        assert (third.at - second.at).total_seconds() >= 1.6
        assert caller.armed() == {}
        caller.provision("job", FAR, agent.url)
        assert agent.quiet(4)


def test_a_cancel_settles_too(tmp_path: Path, agent: AgentServer) -> None:
    with served(tmp_path / "nas", settle=2) as place:
        caller = place.agent()
        caller.provision("job", instant(), agent.url)
        agent.fire()
        caller.cancel("job")
        assert agent.quiet(3)


def test_an_arm_during_the_delivery_settles_it(tmp_path: Path, agent: AgentServer) -> None:
    with served(tmp_path / "nas", settle=0.2) as place:
        caller = place.agent()
        agent.will(lambda handler: (caller.provision("job", FAR, agent.url), answer()(handler)))
        caller.provision("job", instant(), agent.url)
        agent.fire()
        assert agent.quiet(0.5)
        assert caller.armed() == {"job": FAR}


def test_without_settlement_a_delivered_row_is_gone(tmp_path: Path, agent: AgentServer) -> None:
    with served(tmp_path / "nas", settle=0) as place:
        caller = place.agent()
        caller.provision("job", instant(), agent.url)
        agent.fire()
        assert until(lambda: place.nas.agents.listed()[0].arms == {})
        assert agent.quiet(0.3)
        assert caller.ask("GET", contract.CAPABILITIES_PATH)["settle"] == 0


def test_an_agent_sees_and_touches_only_its_own_jobs(place: Place, caller: Caller, agent: AgentServer) -> None:
    other = place.agent("two", "agent:two")
    caller.provision("job", FAR, agent.url)
    other.cancel("job")
    assert (caller.armed(), other.armed()) == ({"job": FAR}, {})
    other.provision("job", instant(), agent.url)
    assert other.claims(agent.fire(), "agent:two")["aud"] == "agent:two"
    assert caller.armed() == {"job": FAR}


def test_an_unknown_token_is_to_be_refreshed_and_a_revoked_agent_is_told_so(place: Place, agent: AgentServer) -> None:
    for token in ("", "nonsense", "hcn_" + "x" * 43):
        for method, path in (
            ("GET", contract.LIST_PATH), ("POST", contract.PROVISION_PATH), ("POST", contract.CANCEL_PATH),
            ("POST", contract.BATCH_PATH), ("GET", contract.CAPABILITIES_PATH),
        ):  # fmt: skip
            got = Caller(place.base, token).send(method, path, b"{" if method == "POST" else None)
            assert (got.status, got.headers["www-authenticate"]) == (401, "Bearer")
    caller = place.agent()
    caller.provision("job", instant(3), agent.url)
    place.nas.agents.revoke("one")
    assert caller.ask("GET", contract.LIST_PATH, status=403)["error"] == "invalid_client"
    assert agent.quiet(3.5), "no token is minted for a revoked agent"
    assert place.agent().armed() == {}, "a new agent of the same name begins with nothing"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"job_id": None}, "job_id"),
        ({"job_id": "a b"}, "job_id"),
        ({"job_id": ".a"}, "job_id"),
        ({"job_id": "a\n"}, "job_id"),
        ({"job_id": ["a"]}, "job_id"),
        ({"fire_at": None}, "fire_at"),
        ({"fire_at": "2099-01-01T00:00:00"}, "fire_at"),
        ({"fire_at": "9999-12-31T23:59:59-10:00"}, "fire_at"),
        ({"fire_at": "tomorrow"}, "fire_at"),
        ({"fire_at": 5}, "fire_at"),
        ({"dedup_key": "job:2098-01-01T00:00:00+00:00"}, "dedup_key"),
        ({"dedup_key": "other:" + FAR}, "dedup_key"),
        ({"agent_callback_url": None}, "agent_callback_url"),
        ({"agent_callback_url": "ftp://127.0.0.1"}, "agent_callback_url"),
        ({"agent_callback_url": "http://u:p@127.0.0.1"}, "agent_callback_url"),
        ({"agent_callback_url": "http://127.0.0.1/#x"}, "agent_callback_url"),
        ({"agent_callback_url": "http://127.0.0.1/?x=1"}, "agent_callback_url"),
        ({"agent_callback_url": "http://127.0.0.1:99999"}, "agent_callback_url"),
        ({"agent_callback_url": "http://\ud800"}, "agent_callback_url"),
    ],
)
def test_a_wrong_field_is_named(caller: Caller, change: dict[str, object], field: str) -> None:
    good = {"job_id": "job", "fire_at": FAR, "agent_callback_url": "http://127.0.0.1:9"}
    found = caller.ask("POST", contract.PROVISION_PATH, {**good, **change}, status=400)
    assert (found["error"], found["field"]) == ("invalid_request", field)
    assert caller.armed() == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 16000, b"9" * 6000])
def test_what_is_no_json_object_is_refused(caller: Caller, body: bytes) -> None:
    assert caller.ask("POST", contract.PROVISION_PATH, body, status=400)["error"] == "invalid_request"
    assert caller.ask("POST", contract.CANCEL_PATH, body, status=400)["error"] == "invalid_request"


def test_a_large_body_is_refused(caller: Caller) -> None:
    assert caller.ask("POST", contract.CANCEL_PATH, b" " * 17_000, status=413)["error"] == "too_large"
    assert caller.ask("POST", contract.BATCH_PATH, b" " * 2_200_000, status=413)["error"] == "too_large"


def test_every_error_is_json(caller: Caller) -> None:
    assert caller.ask("GET", "/nowhere", status=404) == {"error": "not_found"}
    assert caller.ask("GET", contract.PROVISION_PATH, status=405) == {"error": "method_not_allowed"}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1", "http://127.1", "http://0x7f.1", "http://[::ffff:127.0.0.1]", "http://[::1]:80",
        "http://169.254.169.254", "http://10.0.0.1", "http://localhost", "http://localhost.", "https://0.0.0.0",
        "http://2130706433", "http://[64:ff9b::7f00:1]",
    ],
)  # fmt: skip
def test_a_callback_to_a_private_address_is_refused_unless_allowed(tmp_path: Path, url: str) -> None:
    with served(tmp_path / "nas", allow_private_callbacks=False) as place:
        body = {"job_id": "job", "fire_at": FAR, "agent_callback_url": url}
        assert place.agent().ask("POST", contract.PROVISION_PATH, body, 400)["field"] == "agent_callback_url"


def test_a_batch_answers_each_item(caller: Caller, agent: AgentServer) -> None:
    caller.provision("old", FAR, agent.url)
    caller.provision("both", FAR, agent.url)
    good = {"fire_at": FAR, "agent_callback_url": agent.url}
    found = caller.ask(
        "POST", contract.BATCH_PATH,
        {
            "provision": [{"job_id": "a", **good}, {"job_id": "b"}, 7, {"job_id": "both", **good}],
            "cancel": ["old", {"job_id": "both"}, {"job_id": "none"}, {}],
        },
    )  # fmt: skip
    assert [item["status"] for item in found["provision"]] == [200, 400, 400, 200]
    assert [item["status"] for item in found["cancel"]] == [200, 200, 200, 400]
    assert found["provision"][0]["job_id"] == "a"
    assert found["provision"][0]["schedule_id"]
    assert found["provision"][1]["field"] == "fire_at"
    assert caller.armed() == {"a": FAR, "both": FAR}, "a job in both lists stays armed"


def test_a_batch_holds_500_items_and_no_more(caller: Caller, agent: AgentServer) -> None:
    items = [{"job_id": f"j{n}", "fire_at": FAR, "agent_callback_url": agent.url} for n in range(501)]
    caller.ask("POST", contract.BATCH_PATH, {"provision": items}, status=400)
    assert caller.armed() == {}
    caller.ask("POST", contract.BATCH_PATH, {"provision": items[:500]})
    assert len(caller.armed()) == 500
    caller.ask("POST", contract.BATCH_PATH, {"provision": items[500:]})
    first = caller.ask("GET", contract.LIST_PATH + "?cursor=")
    second = caller.ask("GET", contract.LIST_PATH + f"?cursor={first['next']}")
    assert (len(first["armed"]), len(second["armed"]), second["next"]) == (500, 1, None)
    assert {item["job_id"] for item in first["armed"] + second["armed"]} == {f"j{n}" for n in range(501)}
    assert len(caller.armed()) == 501, "a caller that knows no pages gets everything"
    assert caller.send("GET", contract.LIST_PATH + "?cursor=%ff").status == 400


def test_capabilities_say_what_it_can(caller: Caller) -> None:
    able = caller.ask("GET", contract.CAPABILITIES_PATH)
    assert able.items() >= {"settle": 60.0, "batch": 500, "bound_tokens": True}.items()
    assert able["max_horizon_s"] > 10 * 365 * 86_400
    assert able["now"].endswith("+00:00")
    assert able["precision_s"] <= 0.1


def test_an_agent_that_calls_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    with served(tmp_path / "nas", limits=Limits(0.1, 2)) as place:
        caller, other = place.agent(), place.agent("two")
        assert [caller.send("GET", contract.LIST_PATH).status for _ in range(3)] == [200, 200, 429]
        assert 1 <= int(caller.send("GET", contract.LIST_PATH).headers["retry-after"]) <= 20
        assert other.send("GET", contract.LIST_PATH).status == 200


def test_an_agent_over_its_quota_keeps_what_it_has(tmp_path: Path, agent: AgentServer) -> None:
    with served(tmp_path / "nas", quota=1) as place:
        caller = place.agent()
        caller.provision("a", FAR, agent.url)
        body = {"job_id": "b", "fire_at": FAR, "agent_callback_url": agent.url}
        got = caller.send("POST", contract.PROVISION_PATH, body)
        assert (got.status, json.loads(got.body)["error"]) == (429, "over_quota")
        assert int(got.headers["retry-after"]) > 0
        caller.provision("a", "2098-01-01T00:00:00+00:00", agent.url)
        assert caller.armed() == {"a": "2098-01-01T00:00:00+00:00"}


def test_it_is_healthy(place: Place) -> None:
    assert Caller(place.base).ask("GET", "/healthz") == {"status": "ok"}


def test_without_keys_or_a_timer_it_is_not_healthy(place: Place, tmp_path: Path) -> None:
    caller = Caller(place.base)
    (tmp_path / "nas" / "keys.json").chmod(0o644)
    for path in ("/healthz", contract.JWKS_PATH):
        got = caller.send("GET", path)
        assert (got.status, json.loads(got.body), got.headers["retry-after"]) == (503, {"error": "config_invalid"}, "1")
    (tmp_path / "nas" / "keys.json").chmod(0o600)
    assert caller.ask("GET", "/healthz") == {"status": "ok"}
    place.nas._timer.stop(0)
    assert caller.ask("GET", "/healthz", status=503)["error"] == "no_timer"


def test_a_list_beyond_all_measure_comes_in_pages_in_any_case(caller: Caller, agent: AgentServer) -> None:
    for start in range(0, 10_500, 500):
        items = [
            {"job_id": f"j{n}", "fire_at": FAR, "agent_callback_url": agent.url} for n in range(start, start + 500)
        ]
        caller.ask("POST", contract.BATCH_PATH, {"provision": items})
    first = caller.ask("GET", contract.LIST_PATH)
    rest = caller.ask("GET", contract.LIST_PATH + f"?cursor={first['next']}")
    assert (len(first["armed"]), len(rest["armed"]), rest["next"]) == (10_000, 500, None)
