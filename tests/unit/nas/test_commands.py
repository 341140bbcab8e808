"""`hermes-cron nas ...`: what a person types, and what is said."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hermes_cron.cli import cli
from hermes_cron.errors import AgentInvalid, ConfigError, HermesCronError


def run(home: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["nas", *words, "--home", str(home)])


def refused(home: Path, kind: type[HermesCronError], *words: str) -> str:
    got = run(home, *words)
    assert isinstance(got.exception, kind), got.output
    return str(got.exception)


def test_it_prints_a_token_once_and_nothing_else(tmp_path: Path) -> None:
    got = run(tmp_path / "nas", "agents", "add", "one", "--audience", "agent:one")
    assert got.stdout.startswith("hcn_")
    assert len(got.stdout.split()) == 1
    (row,) = json.loads(run(tmp_path / "nas", "agents", "list", "--json").stdout)
    assert row.items() >= {"name": "one", "audience": "agent:one", "revoked_at": None, "armed": 0, "dead": 0}.items()
    assert got.stdout.strip() not in run(tmp_path / "nas", "agents", "list").stdout


def test_a_token_file_is_written_for_its_owner_and_never_over_another(tmp_path: Path) -> None:
    file = tmp_path / "token"
    words = ("agents", "add", "one", "--audience", "a", "--token-file", str(file))
    assert run(tmp_path / "nas", *words).stdout == ""
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith("hcn_")
    assert "exists already" in refused(tmp_path / "nas", ConfigError, *words)
    elsewhere = str(tmp_path / "missing" / "token")
    assert "cannot be written" in refused(tmp_path / "nas", ConfigError, *words[:2], "two", *words[3:6], elsewhere)
    rows = json.loads(run(tmp_path / "nas", "agents", "list", "--json").stdout)
    assert [row["name"] for row in rows if row["revoked_at"] is None] == ["one"]


def test_it_revokes(tmp_path: Path) -> None:
    run(tmp_path / "nas", "agents", "add", "one", "--audience", "a")
    assert run(tmp_path / "nas", "agents", "revoke", "one").exit_code == 0
    assert "There is no agent one" in refused(tmp_path / "nas", AgentInvalid, "agents", "revoke", "one")


def test_it_makes_rotates_and_lists_keys(tmp_path: Path) -> None:
    assert "signs from" in run(tmp_path / "nas", "keys", "new", "--alg", "EdDSA").stdout
    assert "once rotated to" in run(tmp_path / "nas", "keys", "new").stdout
    assert "(ES256) signs from" in run(tmp_path / "nas", "keys", "rotate", "--overlap", "5m").stdout
    rows = json.loads(run(tmp_path / "nas", "keys", "list", "--json").stdout)
    assert [(row["alg"], row["state"]) for row in rows] == [("EdDSA", "active"), ("ES256", "next")]
    assert "PRIVATE" not in json.dumps(rows)
    table = run(tmp_path / "nas", "keys", "list").stdout
    assert "retired" not in table
    assert rows[0]["kid"] in table


def test_without_keys_the_list_says_how_to_make_one(tmp_path: Path) -> None:
    assert "hermes-cron nas keys new" in refused(tmp_path / "nas", ConfigError, "keys", "list")


@pytest.mark.parametrize("bind", ["0.0.0.0:80", "[::]:80", "127.0.0.1:0", "fd://3", "unix:/tmp/x"])
def test_it_asks_for_a_public_url_where_none_follows(tmp_path: Path, bind: str) -> None:
    assert "--public-url" in refused(tmp_path / "nas", ConfigError, "serve", "--bind", bind)


@pytest.mark.parametrize("url", ["nas.example.org", "https://u:p@nas.example.org", "https://nas.example.org/?x"])
def test_a_public_url_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    assert "The public URL must be" in refused(tmp_path / "nas", ConfigError, "serve", "--public-url", url)


@pytest.mark.parametrize("words", [("--bind", "nowhere"), ("--settle", "soon"), ("--relay-secret-file", "/missing")])
def test_a_flag_that_cannot_be_read_is_a_usage_error(tmp_path: Path, words: tuple[str, str]) -> None:
    got = run(tmp_path / "nas", "serve", *words)
    assert got.exit_code == 2
    assert words[0] in got.stderr


def test_a_relay_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("whsec_" + base64.b64encode(b"k" * 32).decode())
    file.chmod(0o644)
    words = ("serve", "--relay-secret-file", str(file))
    assert str(file) in refused(tmp_path / "nas", ConfigError, *words)


def test_every_flag_of_serve_names_its_variable(tmp_path: Path) -> None:
    help_text = run(tmp_path, "serve", "--help").stdout
    for flag in ("HOME", "BIND", "PUBLIC_URL", "ALLOW_PRIVATE_CALLBACKS", "SETTLE", "RELAY_SECRET_FILE"):
        assert f"HERMES_NAS_{flag}" in help_text
