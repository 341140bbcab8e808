"""`hermes-cron keys` and `hermes-cron openapi`."""

from __future__ import annotations

import stat

import pytest

from hermes_cron.apikeys import KeyRing
from tests.unit.cli.conftest import Cli


def test_it_prints_a_key_once_and_says_where_its_hash_is(cli: Cli) -> None:
    answer = cli.good("keys", "new", "ops", "--scope", "write")
    file = cli.home / "api-keys"
    found = KeyRing(file).find(answer.out.strip())
    assert found is not None
    assert found.opens("write")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in answer.err
    assert "set web.api_keys_file" in answer.err
    assert answer.out.strip() not in cli.good("keys", "list").out + file.read_text()


def test_it_writes_to_the_file_that_the_configuration_names(cli: Cli) -> None:
    file = cli.home / "elsewhere"
    before = ("--set", f"web.api_keys_file={file}")
    answer = cli.good(*before, "keys", "new", "look", "--scope", "read")
    assert "set web.api_keys_file" not in answer.err
    assert cli.good(*before, "keys", "list", "--json").json == [{"name": "look", "scopes": ["read"]}]


@pytest.mark.parametrize(
    ("words", "code"),
    [(["new", "ops"], 2), (["new", "ops", "--scope", "admin"], 2), (["new", "a b", "--scope", "read"], 78)],
)
def test_it_refuses_what_makes_no_key(cli: Cli, words: list[str], code: int) -> None:
    assert cli("keys", *words).code == code
    assert "There are no keys." in cli.good("keys", "list").out


def test_it_prints_the_document_of_the_api(cli: Cli) -> None:
    assert cli.good("openapi").json["openapi"].startswith("3.1")
