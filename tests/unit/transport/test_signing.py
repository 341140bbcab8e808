"""Signed messages: what is believed, and what the file of secrets must be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from hermes_cron.errors import ConfigError, MessageRejected
from hermes_cron.fire import Fire
from hermes_cron.transport.message import encode
from hermes_cron.transport.signing import Signer, read_signer
from tests.unit.verify.mint import NOW, FakeClock

OLD, NEW = b"o" * 32, b"n" * 32
FIRE = Fire("tides", NOW, received_at=NOW)
BODY = encode(FIRE)


def signer(*secrets: bytes, queue: str = "q") -> Signer:
    return Signer(secrets or (NEW,), queue, clock=FakeClock())


def refused(ours: Signer, body: bytes, header: str | None) -> str:
    with pytest.raises(MessageRejected) as caught:
        ours.check(body, header)
    return caught.value.field


def test_what_was_signed_is_believed_byte_for_byte() -> None:
    ours = signer()
    ours.check(BODY, ours.sign(BODY))
    assert refused(ours, BODY + b" ", ours.sign(BODY)) == "signature"
    assert refused(ours, BODY, None) == "unsigned"


@pytest.mark.parametrize("header", ["", "v1", "v1.", "v1..", "v2.a.b", "v1.\u20ac.\ud800", "a" * 10_000])
def test_what_is_no_signature_is_refused(header: str) -> None:
    ours = signer()
    assert refused(ours, BODY, header) == "signature"
    known = ours.sign(BODY).rpartition(".")[0]
    assert refused(ours, BODY, f"{known}.{header}") == "signature"


def test_a_secret_is_changed_without_a_gap() -> None:
    old, both, new = signer(OLD), signer(NEW, OLD), signer(NEW)
    both.check(BODY, old.sign(BODY))
    both.check(BODY, both.sign(BODY))
    new.check(BODY, both.sign(BODY))
    assert refused(new, BODY, old.sign(BODY)) == "signature"


def test_a_message_of_another_queue_is_refused() -> None:
    assert refused(signer(queue="other"), BODY, signer().sign(BODY)) == "signature"


@pytest.mark.parametrize(("age", "good"), [(0, True), (86_400, True), (86_401, False), (-300, True), (-301, False)])
def test_a_signed_message_lives_for_a_day(age: float, good: bool) -> None:
    fire = replace(FIRE, received_at=NOW - timedelta(seconds=age))
    if good:
        signer().check_age(fire)
        return
    with pytest.raises(MessageRejected, match="24 h"):
        signer().check_age(fire)


def test_a_message_that_does_not_say_when_it_was_signed_is_refused() -> None:
    with pytest.raises(MessageRejected):
        signer().check_age(replace(FIRE, received_at=None))


def test_neither_key_nor_secret_stands_in_the_header() -> None:
    assert NEW.decode() not in signer().sign(BODY)
    assert NEW.hex() not in signer().sign(BODY)


class TestFile:
    def test_nothing_is_signed_without_one(self) -> None:
        assert read_signer("", "q") is None

    def test_its_first_line_signs_and_all_are_believed(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        file.write_text(f"{NEW.decode()}\n\n  {OLD.decode()}  \n")
        found = read_signer(str(file), "q")
        assert found is not None
        assert found.sign(BODY) == signer(NEW).sign(BODY)
        found.check(BODY, signer(OLD).sign(BODY))

    @pytest.mark.parametrize("text", ["", "\n", "canary", f"{'n' * 32}\ncanary", "canary" + "\udcff" * 32])
    def test_a_missing_or_short_secret_is_refused_and_not_repeated(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "keys"
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ConfigError) as caught:
            read_signer(str(file), "q")
        assert caught.value.field == "broker.signing_key_file"
        assert "canary" not in str(caught.value)

    def test_one_that_others_may_write_to_is_refused_by_its_name(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        file.write_text("n" * 32)
        for mode in (0o620, 0o602, 0o666):
            file.chmod(mode)
            with pytest.raises(ConfigError, match="keys"):
                read_signer(str(file), "q")

    def test_one_that_is_too_long_is_refused_and_not_cut_off(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        file.write_text(f"{'n' * 32}\n" * 2000)
        with pytest.raises(ConfigError, match="keys is longer than 65536 characters"):
            read_signer(str(file), "q")

    def test_one_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="missing"):
            read_signer(str(tmp_path / "missing"), "q")
