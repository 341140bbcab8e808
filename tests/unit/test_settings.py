"""The configuration's schema: its readers, its defaults, and what it never shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_cron import settings
from hermes_cron.settings import Option, Secret, Settings, duration_seconds, duration_text, mask_url


def options(section: Any = Settings, above: str = "") -> Iterator[tuple[str, Option]]:
    for field in fields(section):
        if "option" in field.metadata:
            yield above + field.name, field.metadata["option"]
        else:
            yield from options(field.metadata["section"], f"{above}{field.name}.")


OPTIONS = dict(options())


@pytest.mark.parametrize("name", OPTIONS)
def test_a_default_is_what_its_reader_reads_and_is_explained_in_a_sentence(name: str) -> None:
    option = OPTIONS[name]
    if option.default not in ("", settings.NO_SECRET):
        assert option.read(option.default) == option.default
    assert option.about.endswith(".")


@pytest.mark.parametrize("name", OPTIONS)
def test_a_reader_refuses_whatever_it_is_given_and_never_breaks(name: str) -> None:
    for value in (None, [], {}, object(), -1, float("nan"), "\0", "x" * 10_000, b"x", [None]):
        with suppress(ValueError):
            OPTIONS[name].read(value)


def test_the_settings_are_frozen_and_have_the_defaults_of_the_documentation() -> None:
    found = Settings()
    assert is_dataclass(found)
    assert (found.cron.provider, found.cron.fallback, found.cron.timezone) == ("", "builtin", "UTC")
    assert found.cron.chronos.ladder == (900.0, 10_800.0, 86_400.0, 604_800.0)
    assert (found.broker.url, found.broker.queue, found.web.bind) == ("memory://", "hermes-cron", "127.0.0.1:8080")
    assert (found.worker.concurrency, found.worker.pool, found.worker.lease_seconds) == (4, "threads", 30.0)
    assert not found.tasks.shell.enabled
    with pytest.raises(AttributeError):
        found.app = "x"  # type: ignore[misc]  # as is tried.


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:hunter2@host/0", "redis://user:***@host/0"),
        ("redis://:hunter2@host/0", "redis://:***@host/0"),
        ("redis://hunter2@host/0", "redis://***@host/0"),
        ("amqp://u:p@ss/w@host//", "amqp://u:***@host//"),
        ("postgresql://host/db?password=hunter2&x=1", "postgresql://host/db?password=***&x=1"),
        ("memory://", "memory://"),
    ],
)
def test_a_password_in_a_url_is_never_shown(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_a_secret_shows_itself_to_nobody_but_who_asks() -> None:
    secret = Secret("hunter2")
    assert (repr(secret), str(secret), f"{secret}", repr([secret])) == ("***", "***", "***", "[***]")
    assert secret.reveal() == "hunter2"
    assert (bool(secret), bool(Secret())) == (True, False)
    assert secret == Secret("hunter2")
    assert hash(secret) == hash(Secret("hunter2"))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("90s", 90), ("15m", 900), ("3h", 10_800), ("7d", 604_800), ("1.5", 1.5), (30, 30), ("2w", 1_209_600)],
)
def test_a_duration_is_read(value: object, seconds: float) -> None:
    assert duration_seconds(value) == seconds


@pytest.mark.parametrize("value", ["", "-1s", "1y", "soon", -1, float("inf"), True, None, "1 2", "٣m"])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must be seconds or a duration"):
        duration_seconds(value)


@given(st.integers(0, 10**7))
def test_a_duration_survives_its_text(seconds: int) -> None:
    assert duration_seconds(duration_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("web.bind", ["0.0.0.0:80", "[::1]:8080", "fd://3", "unix:/run/x.sock"], ["80", "host", "host:70000", ":80"]),
        ("cron.provider", ["chronos", "my_one-2"], ["", "../x", "1st", "a" * 65]),
        ("cron.timezone", ["UTC", "Europe/Lisbon"], ["Lisbon", "../UTC", ""]),
        ("cron.chronos.ladder", [[], ["15m", "3h"], "15m, 3h"], [["3h", "15m"], ["0s"], "soon", 15]),
        ("broker.queue", ["hermes-cron", "a.b:c"], ["", "a b", "x" * 201]),
        ("worker.pool", ["threads", "processes"], ["gevent", ""]),
        ("worker.concurrency", [1, 1000], [0, 1001, True, "many"]),
        ("cron.chronos.portal_url", ["https://nas.example.org"], ["nas.example.org", "ftp://x", "https://u:p@x"]),
    ],
)
def test_a_key_takes_what_is_good_and_refuses_what_is_not(name: str, good: list[object], bad: list[object]) -> None:
    for value in good:
        OPTIONS[name].read(value)
    for value in bad:
        with pytest.raises(ValueError, match=r"^must "):
            OPTIONS[name].read(value)


def test_a_private_key_is_not_taken_for_a_public_one_nor_repeated() -> None:
    private = "-----BEGIN " + "PRIVATE KEY-----"
    with pytest.raises(ValueError, match="private one") as caught:
        settings.public_key(private)
    assert private not in str(caught.value)


def test_one_slash_more_or_less_at_the_end_of_a_url_says_the_same() -> None:
    read = OPTIONS["cron.chronos.portal_url"].read
    assert read("https://nas.example.org/") == read("https://nas.example.org")
