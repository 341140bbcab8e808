"""The file of API keys: what may stand in it, who may write to it, and that a key itself is kept nowhere."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from hermes_cron.apikeys import KeyRing, add_key, digest_of, read_keys
from hermes_cron.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "api-keys"


def test_a_new_key_opens_its_scopes_and_only_its_hash_is_kept(file: Path) -> None:
    key = add_key(file, "ops", ["read"])
    found = KeyRing(file).find(key)
    assert found is not None
    assert (found.name, found.opens("read"), found.opens("write")) == ("ops", True, False)
    assert key not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_who_may_write_may_read(file: Path) -> None:
    key = add_key(file, "writer", ["write"])
    writer = KeyRing(file).find(key)
    assert writer is not None
    assert writer.opens("read")


def test_keys_are_long_and_never_alike(file: Path) -> None:
    keys = {add_key(file, f"k{number}", ["read"]) for number in range(20)}
    assert len(keys) == 20
    assert all(len(key) >= 43 for key in keys)


def test_it_reads_comments_blank_lines_and_several_scopes(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(f"# keys\n\nops read,write {digest_of('a')}   # of the operators\n")
    file.chmod(0o600)
    [key] = read_keys(file)
    assert (key.name, key.scopes) == ("ops", {"read", "write"})


@pytest.mark.parametrize(
    "line",
    ["ops read", "ops admin sha256:" + "0" * 64, "ops read sha256:0", "ops  sha256:" + "0" * 64, "ops read secret",
     "ops read md5:" + "0" * 64, "ops read sha256:" + "0" * 64 + " more", "ops/x read sha256:" + "0" * 64],
)  # fmt: skip
def test_it_refuses_a_line_that_is_none_and_names_it(file: Path, line: str) -> None:
    file.parent.mkdir()
    file.write_text(f"# first\n{line}\n")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="line 2"):
        read_keys(file)


def test_it_refuses_a_file_that_others_may_write_to_or_that_is_not_there(file: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        KeyRing(file)
    add_key(file, "ops", ["read"])
    file.chmod(0o620)
    with pytest.raises(ConfigError, match="Others may write"):
        KeyRing(file)


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, "a\nb read sha256:" + "0" * 64, "#x"])
def test_it_refuses_a_name_that_is_none(file: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        add_key(file, name, ["read"])
    assert not file.exists()


def test_a_name_is_given_once(file: Path) -> None:
    add_key(file, "ops", ["read"])
    with pytest.raises(ConfigError, match="already"):
        add_key(file, "ops", ["write"])
    assert len(read_keys(file)) == 1


def test_it_never_advises_to_change_the_mode_of_what_is_no_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for act in (lambda: read_keys(tmp_path), lambda: add_key(tmp_path, "ops", ["read"])):
        with pytest.raises(ConfigError, match="no ordinary file") as told:
            act()
        assert "chmod" not in str(told.value)
