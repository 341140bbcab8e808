"""`fire`: a test fire as NAS sends it, judged claim by claim and answered by a real webhook."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from hermes_cron.bootstrap import the_verifier
from hermes_cron.config import load
from hermes_cron.nas.room import open_keys
from hermes_cron.webapp import make_webapp
from tests.unit.cli.conftest import Cli
from tests.unit.parts import ListBroker


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: object) -> None: ...


@dataclass
class Agent:
    """An agent that trusts the key in `nas`, and its configuration for the command line."""

    cli: Cli
    nas: Path
    url: str
    broker: ListBroker


@pytest.fixture
def agent(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    nas = tmp_path / "nas"
    nas.mkdir(mode=0o700)
    cli.good("nas", "keys", "new", "--home", str(nas))
    key = open_keys(nas).jwks()["keys"][0]
    for name, value in {
        "PORTAL_URL": "https://nas.example", "EXPECTED_AUDIENCE": "agent:it", "NAS_PUBLIC_KEY": json.dumps(key),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"HERMES_CRON_CRON__CHRONOS__{name}", value)
    broker = ListBroker()
    verifier = the_verifier(load(None, flags={"cron.provider": "chronos"}))
    app = make_webapp(verifier, broker, lambda: None)  # type: ignore[arg-type,return-value]  # a fire needs no store.
    server = make_server("127.0.0.1", 0, app, WSGIServer, Quiet)  # type: ignore[arg-type]  # falcon's own types.
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield Agent(cli, nas, f"http://127.0.0.1:{server.server_port}", broker)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_good_fire_is_taken_and_each_claim_is_ok(agent: Agent) -> None:
    at = "2026-07-01T12:00:00+00:00"
    answer = agent.cli.good("fire", "tide", "--at", at, "--sign-with", str(agent.nas), "--url", agent.url, "--json")
    assert answer.json["status"] == 202
    assert {row["verdict"] for row in answer.json["verdict"]} == {"ok"}
    says = {row["claim"]: row["says"] for row in answer.json["verdict"]}
    assert (says["iss"], says["aud"], says["job_id"], says["fire_at"]) == (
        "https://nas.example",
        "agent:it",
        "tide",
        at,
    )
    assert [fire.job_id for fire in agent.broker.fires] == ["tide"]


@pytest.mark.parametrize(
    ("flag", "value", "claim"), [("--audience", "agent:other", "aud"), ("--issuer", "https://else.example", "iss")]
)
def test_a_refused_fire_names_the_claim_that_the_answer_does_not(
    agent: Agent, flag: str, value: str, claim: str
) -> None:
    answer = agent.cli("fire", "tide", "--sign-with", str(agent.nas / "keys.json"), "--url", agent.url, flag, value)
    assert answer.code == 1
    rows = {line.split()[0]: line for line in answer.out.splitlines()}
    assert "refused" in rows[claim]
    assert value in rows[claim]
    assert "ok" in rows["signature"]
    assert "not looked at" in rows["body_sha256"]
    assert "401" in rows
    assert not agent.broker.fires


def test_a_key_that_the_agent_does_not_trust_is_named(agent: Agent, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    agent.cli.good("nas", "keys", "new", "--home", str(other))
    answer = agent.cli("fire", "tide", "--sign-with", str(other), "--url", agent.url, "--json")
    assert answer.code == 1
    refused = [row["claim"] for row in answer.json["verdict"] if row["verdict"].startswith("refused")]
    assert refused in (["key"], ["signature"])


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [((".hidden",), 2, "job id"), (("tide", "--at", "soon"), 2, "--at"), (("tide",), 78, "--url"),
     (("tide", "--url", "ftp://127.0.0.1"), 78, "no http:// or https:// URL"),
     (("tide", "--url", "http://127.0.0.1:1"), 69, "Is `hermes-cron serve` (or `web`) up there?")],
)  # fmt: skip
def test_what_cannot_be_sent_is_said_in_one_sentence(
    agent: Agent, more: tuple[str, ...], code: int, words: str
) -> None:
    answer = agent.cli("fire", *more, "--sign-with", str(agent.nas))
    assert (answer.code, words in answer.err, "Traceback" in answer.err) == (code, True, False)


def test_without_keys_it_says_how_to_make_some(agent: Agent, tmp_path: Path) -> None:
    answer = agent.cli("fire", "tide", "--sign-with", str(tmp_path / "none"), "--url", agent.url)
    assert answer.code == 78
    assert "nas keys new" in answer.err
