"""The seam: from settings to a verifier."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hermes_cron.errors import ConfigError, KeysUnavailable, TokenRejected
from hermes_cron.interfaces import FireVerifier
from hermes_cron.settings import ChronosSettings, CronSettings
from hermes_cron.verify import get_fire_verifier, refuse_all
from hermes_cron.verify.cron_key import job_key, sign_cron_key
from hermes_cron.verify.reasons import Reason
from tests.unit.verify.mint import AUDIENCE, BODY, ISSUER, FakeClock, Host, Pair, good_claims

SET = ChronosSettings(portal_url=ISSUER, expected_audience=AUDIENCE, nas_jwks_url="https://nas.example/jwks.json")


def verifier_of(chronos: ChronosSettings, home: Path, **changes: Any) -> FireVerifier:
    return get_fire_verifier(CronSettings(chronos=chronos, **changes), home=home, clock=FakeClock())


def test_keys_by_url(host: Host, pair: Pair, tmp_path: Path) -> None:
    verifier = verifier_of(replace(SET, nas_jwks_url=host.url), tmp_path)
    host.publish(pair.jwk)
    assert verifier(pair.sign(good_claims()), BODY) == good_claims()
    assert verifier.ready()


@pytest.mark.parametrize("form", ["pem", "jwk", "file"])
def test_a_pinned_key(pair: Pair, tmp_path: Path, form: str) -> None:
    (tmp_path / "key.pem").write_text(pair.pem)
    given = {"pem": pair.pem, "jwk": json.dumps(pair.jwk), "file": str(tmp_path / "key.pem")}[form]
    verifier = verifier_of(replace(SET, nas_jwks_url="", nas_public_key=given), tmp_path)
    assert verifier.ready()
    assert verifier(pair.sign(good_claims()), BODY)


def test_bound_tokens_may_be_demanded(pair: Pair, tmp_path: Path) -> None:
    chronos = replace(SET, nas_jwks_url="", nas_public_key=pair.pem, require_bound_tokens=True)
    with pytest.raises(TokenRejected) as caught:
        verifier_of(chronos, tmp_path)(pair.sign(good_claims()), BODY)
    assert caught.value.reason == Reason.UNBOUND


def test_keys_that_cannot_be_had_are_no_refusal(pair: Pair, tmp_path: Path) -> None:
    verifier = verifier_of(replace(SET, nas_jwks_url="http://127.0.0.1:1/"), tmp_path)
    assert not verifier.ready()
    with pytest.raises(KeysUnavailable) as caught:
        verifier(pair.sign(good_claims()), BODY)
    assert caught.value.retry_after > 0


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("key", ["portal_url", "expected_audience", "nas_jwks_url"])
def test_i3_a_blank_setting_is_an_error_at_start(tmp_path: Path, key: str, blank: str) -> None:
    with pytest.raises(ConfigError, match="is not set") as caught:
        verifier_of(replace(SET, **{key: blank}), tmp_path)
    assert caught.value.field == f"cron.chronos.{key}"
    assert caught.value.hint


def test_a_url_and_a_pinned_key_do_not_go_together(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both set"):
        verifier_of(replace(SET, nas_public_key=pair.pem), tmp_path)


def test_plain_http_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="https://"):
        verifier_of(replace(SET, nas_jwks_url="http://nas.example/jwks.json"), tmp_path)


def test_making_one_opens_no_connection_and_writes_nothing(host: Host, tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    verifier_of(replace(SET, nas_jwks_url=host.url), tmp_path)
    assert set(threading.enumerate()) <= threads
    assert list(tmp_path.iterdir()) == []
    assert host.calls == 0


def test_the_cron_key_verifier(tmp_path: Path) -> None:
    secret = b"a secret of the tests, long enough"
    (tmp_path / "secret").write_bytes(secret)
    verifier = verifier_of(ChronosSettings(), tmp_path, verifier="cron-key", key_file=str(tmp_path / "secret"))
    assert verifier(sign_cron_key(job_key(secret, "tides.north"), BODY, clock=FakeClock()), BODY)
    with pytest.raises(ConfigError):
        verifier_of(ChronosSettings(), tmp_path, verifier="cron-key")


def test_an_installed_package_may_offer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "tides-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tides\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hermes_cron.verifiers]\ntides = tides_verifier:make\n")
    (tmp_path / "tides_verifier.py").write_text(
        "def make(settings, *, home, clock):\n    return (settings.verifier, home, clock)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    clock = FakeClock()
    made: Any = get_fire_verifier(CronSettings(verifier="tides"), home=tmp_path, clock=clock)
    assert made == ("tides", tmp_path, clock)


def test_an_unknown_one_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no verifier") as caught:
        get_fire_verifier(CronSettings(verifier="nobody"), home=tmp_path)
    assert caught.value.field == "cron.verifier"


def test_i3_where_nas_is_not_configured_everything_is_refused(pair: Pair) -> None:
    verifier: FireVerifier = refuse_all
    assert verifier.ready()
    with pytest.raises(TokenRejected) as caught:
        verifier(pair.sign(good_claims()), BODY)
    assert caught.value.reason == Reason.NOT_CONFIGURED


def test_only_what_is_needed_is_imported(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x" * 32)
    script = (
        "import sys, pathlib; from hermes_cron.settings import CronSettings; "
        "from hermes_cron.verify import get_fire_verifier; "
        "get_fire_verifier(CronSettings(verifier='cron-key', key_file=sys.argv[1]), home=pathlib.Path('/')); "
        "print({'jwt', 'cryptography', 'httpx'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "secret")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"
