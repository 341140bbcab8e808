"""`hermes-cron arms`, and what the other commands say of arms, against a real NAS."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from hermes_cron.clock import instant_text, utc_now
from tests.contract.nas_parts import Caller, Place, served
from tests.unit.cli.conftest import Cli


def chronos(url: str, token: str) -> list[str]:
    pairs = {
        "portal_url": url, "callback_url": "http://127.0.0.1:9", "access_token": token, "expected_audience": "agent",
        "nas_jwks_url": f"{url}/.well-known/jwks.json",
    }  # fmt: skip
    given = {"cron.provider": "chronos", **{f"cron.chronos.{name}": value for name, value in pairs.items()}}
    return [word for key, value in given.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with served(tmp_path / "nas") as new:
        yield new


@pytest.fixture
def agent(place: Place, cli: Cli) -> Caller:
    caller = place.agent()
    cli.before = chronos(place.base, caller.token)
    return caller


@pytest.fixture
def away(cli: Cli) -> Iterator[str]:
    """A NAS that is not there: its port is bound, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        cli.before = chronos(url, "token")
        yield url


def test_i11_it_arms_what_it_adds_before_it_answers(cli: Cli, agent: Caller) -> None:
    answer = cli.add()
    assert "arm       armed at NAS for " in answer.out
    assert cli.add("pong", "every 5m", "--json").json["arm"] == "armed"
    assert cli.good("arms", "diff").code == 0
    assert {row["state"] for row in cli("arms", "list", "--all", "--json").json} == {"armed"}


def test_i11_it_exits_75_and_says_so_when_nas_is_away(cli: Cli, away: str) -> None:
    for words in (
        ("jobs", "add", "ping", "--schedule", "every 5m", "--task", "http", "--args", '{"url": "https://a.example"}'),
        ("jobs", "edit", "ping", "--schedule", "every 6m"),
        ("jobs", "pause", "ping"),
        ("jobs", "resume", "ping", "--json"),
    ):
        answer = cli(*words)
        if words[1] != "pause":
            assert answer.code == 75, words
            assert "The change is stored, but NAS could not be told of it yet" in answer.err
    assert answer.json["arm"] == "wanted"
    assert cli("jobs", "list", "--json").json[0]["arm"] == "wanted"


def test_it_shows_what_is_wanted_when_nas_is_away(cli: Cli, away: str) -> None:
    cli("jobs", "add", "ping", "--schedule", "every 5m", "--task", "http", "--args", '{"url": "https://a.example"}')
    answer = cli("arms", "diff")
    assert answer.code == 75
    assert "ping" in answer.out
    assert "NAS did not answer" in answer.out
    assert answer.err.count("Error:") == 1
    assert "[nas_unreachable]" in answer.err
    assert cli("arms", "reconcile").code == 75


def test_it_finds_what_nas_holds_too_much_or_too_little(cli: Cli, agent: Caller) -> None:
    cli.add()
    later = instant_text(utc_now() + timedelta(hours=1))
    agent.provision("stray", later, "http://127.0.0.1:9")
    agent.cancel("ping")
    answer = cli("arms", "diff", "--json")
    assert answer.code == 1
    assert not answer.json["agree"]
    says = {row["job_id"]: row["says"] for row in answer.json["arms"] if not row["agree"]}
    assert says == {"ping": "confirmed, but not held", "stray": "held, but not wanted"}
    done = cli.good("arms", "reconcile").out
    assert "1 of unknown jobs: stray" in done
    assert "ping" in done
    assert "0 still wanted" in done
    assert cli.good("arms", "diff").code == 0


def test_it_keeps_the_sentinels_for_those_who_ask(cli: Cli, agent: Caller) -> None:
    cli.add()
    answer = cli.good("arms", "list")
    assert "_wake." not in answer.out
    assert "and 4 sentinels of the agent's own (--all shows them)" in answer.out
    assert "_wake.4" in cli.good("arms", "list", "--all").out


def test_it_says_that_nothing_is_held_outside_with_the_built_in_provider(cli: Cli) -> None:
    cli.add()
    assert "Nothing is held outside" in cli.good("arms", "diff").out
    assert cli.good("arms", "list", "--json").json[0]["state"] == "ticker"


def test_it_looks_at_nas_and_its_keys_when_asked(cli: Cli, agent: Caller) -> None:
    cli.add()
    answer = cli.good("doctor", "--network", "--json")
    found = {finding["check"]: finding for finding in answer.json["findings"]}
    assert found["NAS"]["what"] == "it answers, and holds 5 alarms as wanted"
    assert found["keys"]["state"] == found["arms"]["state"] == found["provider"]["state"] == "ok"


def test_it_tells_of_arms_that_are_wanted(cli: Cli, away: str) -> None:
    cli("jobs", "add", "ping", "--schedule", "every 5m", "--task", "http", "--args", '{"url": "https://a.example"}')
    found = {finding["check"]: finding for finding in cli("doctor", "--network", "--json").json["findings"]}
    assert found["arms"]["state"] == "warn"
    assert found["NAS"]["state"] == "fail"
    assert found["keys"]["state"] == "fail"
