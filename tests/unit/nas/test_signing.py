"""Signing keys: what each does when, who may read them, what they sign."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import jwt
import pytest

from hermes_cron.errors import ConfigError, StoreBusy
from hermes_cron.nas.keys import FILE, MAKERS, Key, KeyRing, check_private
from tests.unit.nas.world import NOON, Clock


def states(ring: KeyRing) -> list[str]:
    return [state for _, state in ring.listed()]


@pytest.fixture
def clock() -> Clock:
    """It stands at noon."""
    return Clock()


@pytest.fixture
def ring(tmp_path: Path, clock: Clock) -> KeyRing:
    """A ring without a key."""
    return KeyRing(tmp_path, clock)


@pytest.mark.parametrize("alg", list(MAKERS))
def test_what_it_signs_is_verified_by_what_it_publishes(ring: KeyRing, alg: str) -> None:
    key = ring.new(alg)
    token = ring.sign({"aud": "a", "exp": 2_000_000_000})
    assert jwt.get_unverified_header(token) == {"alg": alg, "typ": "JWT", "kid": key.kid}
    (published,) = ring.jwks()["keys"]
    assert {name: published[name] for name in ("kid", "alg", "use")} == {"kid": key.kid, "alg": alg, "use": "sig"}
    assert jwt.decode(token, jwt.PyJWK(published).key, algorithms=[alg], audience="a")["aud"] == "a"


@pytest.mark.parametrize("alg", list(MAKERS))
def test_nothing_private_is_published(ring: KeyRing, alg: str) -> None:
    ring.new(alg)
    (published,) = ring.jwks()["keys"]
    assert published.keys() <= {"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}
    assert "PRIVATE" not in repr(ring.listed())


def test_a_kid_is_the_thumbprint(ring: KeyRing) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", ring.new("ES256").kid)


def test_the_next_key_is_published_before_it_signs(ring: KeyRing, clock: Clock) -> None:
    first = ring.new("ES256")
    second = ring.rotate(None, overlap=600, keep=3600)
    assert states(ring) == ["active", "next"]
    assert len(ring.jwks()["keys"]) == 2
    clock.move(599)
    assert jwt.get_unverified_header(ring.sign({}))["kid"] == first.kid
    clock.move(1)
    assert jwt.get_unverified_header(ring.sign({}))["kid"] == second.kid
    assert states(ring) == ["retired", "active"]
    clock.move(3600)
    assert states(ring) == ["active"]
    assert len(ring.jwks()["keys"]) == 1


def test_a_key_made_before_waits_for_the_rotation(ring: KeyRing, clock: Clock) -> None:
    ring.new("ES256")
    made = ring.new("EdDSA")
    assert states(ring) == ["active", "next"]
    clock.move(10_000)
    assert states(ring) == ["active", "next"]
    assert ring.rotate(None, overlap=600).kid == made.kid
    assert states(ring) == ["retired", "active"], "it was published for long enough"


def test_a_rotation_keeps_the_kind_unless_another_is_named(ring: KeyRing) -> None:
    ring.new("EdDSA")
    assert ring.rotate(None).alg == "EdDSA"
    assert ring.rotate("ES256").alg == "ES256"


def test_of_several_keys_that_wait_one_of_the_named_kind_is_taken(ring: KeyRing) -> None:
    ring.new("ES256")
    ring.new("ES256")
    waiting = ring.new("EdDSA")
    assert ring.rotate("EdDSA", overlap=0).kid == waiting.kid
    assert jwt.get_unverified_header(ring.sign({}))["alg"] == "EdDSA"


def test_a_key_that_signs_is_published_however_long_it_waited(ring: KeyRing, clock: Clock) -> None:
    for _ in range(3):
        ring.new("ES256")
    for _ in range(2):
        clock.move(1000)
        last = ring.rotate(None, overlap=600, keep=3600)
    clock.move(3600)
    assert [key.kid for key, _ in ring.listed()] == [last.kid]
    assert jwt.get_unverified_header(ring.sign({}))["kid"] in {key["kid"] for key in ring.jwks()["keys"]}


def test_a_key_that_is_published_no_more_is_not_rotated_to(ring: KeyRing, clock: Clock) -> None:
    first, _, waiting = (ring.new("ES256") for _ in range(3))
    ring.rotate(None, overlap=0, keep=10)
    clock.move(1000)
    assert ring.rotate(None).kid not in (first.kid, waiting.kid)
    assert states(ring) == ["active", "next"]


def test_keys_made_at_one_time_are_all_kept(tmp_path: Path, clock: Clock) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: KeyRing(tmp_path, clock).new("ES256").kid, range(24)))
    assert sorted(made) == sorted(key.kid for key, _ in KeyRing(tmp_path, clock).listed())
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(StoreBusy, match=f"keys in {tmp_path}"):
        KeyRing(tmp_path, clock).rotate(None)
    os.close(handle)


def test_no_half_of_a_key_stays_behind_on_a_disk_that_is_full(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from hermes_cron.clock import utc_now
from hermes_cron.errors import StoreError
from hermes_cron.nas.keys import KeyRing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    KeyRing(Path(sys.argv[1]), utc_now).new("ES256")
except StoreError as error:
    print(error.message)
"""
    said = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True, timeout=60
    )
    assert "cannot be written" in said.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_stolen_key_is_gone_at_once(ring: KeyRing) -> None:
    ring.new("ES256")
    ring.rotate(None)
    last = ring.rotate(None, overlap=0, keep=0)
    assert [key.kid for key, _ in ring.listed()] == [last.kid]
    assert json.loads(ring._path.read_text())["keys"][0]["kid"] == last.kid
    assert ring.sign({})


def test_a_running_server_sees_the_rotation(ring: KeyRing, tmp_path: Path, clock: Clock) -> None:
    ring.new("ES256")
    ring.sign({})
    other = KeyRing(tmp_path, clock).rotate("EdDSA", overlap=0)
    assert jwt.get_unverified_header(ring.sign({}))["kid"] == other.kid


def test_the_file_is_for_its_owner_only(ring: KeyRing, tmp_path: Path) -> None:
    ring.new("ES256")
    ring.rotate(None)
    assert [(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [(FILE, 0o600)]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_read_is_refused_by_name(ring: KeyRing, tmp_path: Path, mode: int) -> None:
    ring.new("ES256")
    ring.sign({})
    (tmp_path / FILE).chmod(mode)
    for act in (ring.listed, ring.jwks, lambda: ring.sign({}), lambda: ring.new("ES256"), lambda: ring.rotate(None)):
        with pytest.raises(ConfigError, match=re.escape(str(tmp_path / FILE))):
            act()


def test_a_folder_in_which_others_may_swap_the_file_is_refused(ring: KeyRing, tmp_path: Path) -> None:
    ring.new("ES256")
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="may swap"):
        check_private(tmp_path / FILE)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"keys": [{}]}', '{"keys": 5}'])
def test_a_damaged_file_is_named_and_not_overwritten(ring: KeyRing, tmp_path: Path, text: str) -> None:
    path = tmp_path / FILE
    path.write_text(text)
    path.chmod(0o600)
    for act in (ring.listed, lambda: ring.new("ES256"), lambda: ring.rotate(None)):
        with pytest.raises(ConfigError, match=f"{path} cannot be read"):
            act()
    assert path.read_text() == text


def test_without_keys_it_says_what_to_do(ring: KeyRing) -> None:
    with pytest.raises(ConfigError, match="hermes-cron nas keys new"):
        ring.sign({})
    with pytest.raises(ConfigError, match="cannot sign with HS256"):
        ring.new("HS256")


def test_a_key_shows_no_secret() -> None:
    key = Key("k", "ES256", "secret", NOON, NOON, NOON + timedelta(days=1))
    assert "secret" not in repr(key)
