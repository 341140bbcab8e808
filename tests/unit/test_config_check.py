"""What is wrong between keys that are each right."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_cron.config import load
from hermes_cron.config_check import check, is_loopback

CHRONOS = {
    "cron.provider": "chronos",
    "cron.chronos.portal_url": "https://nas.example",
    "cron.chronos.callback_url": "https://agent.example",
    "cron.chronos.expected_audience": "agent:1",
    "cron.chronos.nas_jwks_url": "https://nas.example/.well-known/jwks.json",
    "cron.chronos.access_token": "hunter2",
}


def fields(flags: dict[str, object], tmp_path: Path) -> list[str]:
    problems = check(load(environ={"HERMES_CRON_HOME": str(tmp_path)}, flags=flags))
    assert "hunter2" not in "".join(map(str, problems))
    return [problem.field for problem in problems]


def test_it_finds_nothing_wrong_with_the_defaults_or_a_whole_chronos(tmp_path: Path) -> None:
    assert fields({}, tmp_path) == []
    assert fields(CHRONOS, tmp_path) == []


@pytest.mark.parametrize("key", [key for key in CHRONOS if key != "cron.provider"])
def test_it_misses_each_key_that_chronos_needs(tmp_path: Path, key: str) -> None:
    assert fields(CHRONOS | {key: None}, tmp_path) == [key]


def test_it_misses_another_key_when_no_token_of_nas_is_to_be_verified(tmp_path: Path) -> None:
    flags = CHRONOS | {"cron.chronos.nas_jwks_url": None, "cron.verifier": "cron-key"}
    assert fields(flags, tmp_path) == ["cron.key_file"]
    (tmp_path / "k").write_text("x")
    assert fields(flags | {"cron.key_file": str(tmp_path / "k")}, tmp_path) == []


def test_it_names_both_sources_of_a_token(tmp_path: Path) -> None:
    flags = CHRONOS | {"cron.chronos.access_token_command": "cat"}
    (problem,) = check(load(environ={"HERMES_CRON_HOME": str(tmp_path)}, flags=flags))
    assert str(problem) == (
        "cron.chronos.access_token is one of 2 that say the same: cron.chronos.access_token (flag "
        "cron.chronos.access_token), cron.chronos.access_token_command (flag cron.chronos.access_token_command). "
        "Give one of them only."
    )


@pytest.mark.parametrize("key", ["portal_url", "callback_url", "nas_jwks_url"])
def test_it_wants_tls_on_the_way_to_another_machine(tmp_path: Path, key: str) -> None:
    assert fields(CHRONOS | {f"cron.chronos.{key}": "http://nas.example"}, tmp_path) == [f"cron.chronos.{key}"]


def test_it_wants_no_tls_on_this_machine(tmp_path: Path) -> None:
    local = dict.fromkeys(["cron.chronos.portal_url", "cron.chronos.callback_url"], "http://127.0.0.1:9")
    assert fields(CHRONOS | local, tmp_path) == []


def test_it_sees_that_nas_cannot_call_back(tmp_path: Path) -> None:
    flags = CHRONOS | {"cron.chronos.callback_url": "http://localhost:8080"}
    assert fields(flags, tmp_path) == ["cron.chronos.callback_url"]


def test_it_looks_for_the_files_that_are_named(tmp_path: Path) -> None:
    there = tmp_path / "keys"
    there.write_text("x")
    assert fields({"web.api_keys_file": str(there)}, tmp_path) == []
    assert fields({"web.api_keys_file": str(tmp_path)}, tmp_path) == ["web.api_keys_file"]
    flags = CHRONOS | {"cron.chronos.nas_jwks_url": None, "cron.chronos.nas_public_key": "gone.pem"}
    assert fields(flags, tmp_path) == ["cron.chronos.nas_public_key"]
    assert fields(flags | {"cron.chronos.nas_public_key": '{"kty": "EC"}'}, tmp_path) == []


def test_it_sees_a_store_that_depends_on_where_it_was_started(tmp_path: Path) -> None:
    assert fields({"store.url": "sqlite:///jobs.db"}, tmp_path) == ["store.url"]
    assert fields({"store.url": "sqlite:////var/jobs.db"}, tmp_path) == []


def test_it_sees_a_key_that_is_for_nobody(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("x")
    assert fields({"tasks.prompt.api_key_file": str(tmp_path / "k")}, tmp_path) == ["tasks.prompt.url"]


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("http://127.0.0.1:80", True),
        ("http://[::1]/x", True),
        ("http://localhost", True),
        ("http://a.localhost.", True),
        ("http://127.0.0.1.example", False),
        ("http://localhost.example", False),
        ("http://0.0.0.0", False),
        ("", False),
    ],
)
def test_it_knows_this_machine_by_its_address(url: str, answer: bool) -> None:
    assert is_loopback(url) is answer
