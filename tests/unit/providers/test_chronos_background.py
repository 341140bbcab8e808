"""What goes on while a process lives: start, the background armer, stop."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from hermes_cron.errors import StoreError
from hermes_cron.interfaces import Store
from hermes_cron.providers.chronos.scheduler import ChronosCronScheduler
from hermes_cron.rules import change
from hermes_cron.settings import NO_SECRET, Secret
from tests.unit.providers.conftest import LADDER, Make, add, chronos_settings
from tests.unit.providers.nas import Call, Drop, Nas, instants, serving, until


class Silent:
    """A broker that nothing is expected of."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


BROKER: object = Silent()


def start(scheduler: ChronosCronScheduler, store: Store) -> None:
    scheduler.start(store, BROKER)  # type: ignore[arg-type]  # loosely typed, as tests are.


def calm(store: Store) -> bool:
    return store.load(0).wanted_arms == 0


def test_i9_start_reconciles_and_returns(nas: Nas, store: Store, make: Make) -> None:
    chronos = make(ladder=LADDER)
    add(store, "a")
    start(chronos, store)
    assert set(nas.armed) == {"a", "_wake.1", "_wake.2", "_wake.3", "_wake.4"}
    chronos.stop()
    chronos.stop()


def test_i9_it_makes_no_call_by_itself_once_nothing_is_wanted(
    nas: Nas, store: Store, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    chronos = make(ladder=LADDER)
    add(store, "a")
    start(chronos, store)
    nas.calls.clear()
    for _ in range(5):
        chronos._nudge()
        time.sleep(0.05)
    assert nas.calls == []


def test_i9_start_returns_though_nas_is_down_and_arms_when_it_is_back(store: Store) -> None:
    # It is bound and does not listen: nobody can be reached there, and nobody else can take the place.
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    chronos = ChronosCronScheduler(
        chronos_settings(Nas(url=f"http://127.0.0.1:{bound.getsockname()[1]}"), ladder=LADDER)
    )
    add(store, "a")
    start(chronos, store)
    assert not calm(store)
    time.sleep(1)
    with serving(Nas(armed={"a": "2031-01-01T00:00:00Z"}), bound) as nas:
        # No other event: no fire, no change, no restart.
        assert until(lambda: len(nas.armed) == 5 and calm(store))
        assert instants(nas)["a"].year != 2031
        chronos.stop()


def test_i9_start_returns_soon_though_nas_hangs(nas: Nas, store: Store, make: Make) -> None:
    over = threading.Event()
    nas.misbehave = lambda call: over.wait(90) and None
    add(store, "a")
    began = time.monotonic()
    start(make(), store)
    assert time.monotonic() - began < 60
    over.set()


def test_i11_it_arms_what_another_process_left_wanted(nas: Nas, store: Store, make: Make) -> None:
    start(make(), store)
    add(store, "a")
    assert until(lambda: calm(store))
    assert "a" in nas.armed


def test_i11_it_tries_again_when_the_right_of_a_lost_call_lapses(nas: Nas, store: Store, make: Make) -> None:
    def lose(call: Call) -> None:
        if "provision" in call.path and len(nas.provisions()) == 1:
            raise Drop

    nas.misbehave = lose
    chronos = make()
    start(chronos, store)
    began = time.monotonic()
    add(store, "a")
    assert not chronos.arm("a", 30)
    assert until(lambda: calm(store))
    assert time.monotonic() - began > 9
    assert len(nas.provisions()) == 2


def test_it_moves_the_ladder_after_the_arm_of_a_job(nas: Nas, store: Store, make: Make) -> None:
    chronos = make(ladder=LADDER)
    add(store, "far", "every 1d")
    start(chronos, store)
    before = nas.armed["_wake.1"]
    add(store, "near")
    assert chronos.arm("near", 30)
    assert until(lambda: nas.armed["_wake.1"] != before and calm(store))


def test_it_tries_again_soon_what_failed(nas: Nas, store: Store, make: Make) -> None:
    chronos = make()
    start(chronos, store)
    nas.misbehave = lambda call: (503, {}, {})
    add(store, "a")
    assert not chronos.arm("a", 30)
    assert until(lambda: len(nas.provisions()) >= 3)
    nas.misbehave = None
    assert until(lambda: calm(store))


def test_it_waits_as_long_as_nas_asks(nas: Nas, store: Store, make: Make) -> None:
    chronos = make()
    start(chronos, store)
    nas.misbehave = lambda call: (503, {}, {"Retry-After": "2"}) if len(nas.provisions()) < 2 else None
    began = time.monotonic()
    add(store, "a")
    assert not chronos.arm("a", 30)
    assert until(lambda: calm(store))
    assert time.monotonic() - began >= 2
    assert len(nas.provisions()) == 2


def test_it_does_not_storm_a_nas_that_refuses_it(nas: Nas, store: Store, make: Make) -> None:
    nas.misbehave = lambda call: (403, {"error": "invalid_client"}, {})
    chronos = make()
    for name in "abc":
        add(store, name)
    start(chronos, store)
    for _ in range(10):
        chronos.arm("a", 0.1)
    assert len(nas.calls) == 1


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("old\n")
    return file


def test_i11_at_start_nothing_counts_as_armed_by_a_nas_that_does_not_know_this_agent(
    nas: Nas, store: Store, make: Make
) -> None:
    add(store, "a")
    first = make(ladder=LADDER)
    start(first, store)
    first.stop()
    assert calm(store)
    nas.misbehave = lambda call: (403, {"error": "invalid_client"}, {})
    start(make(ladder=LADDER), store)
    record = store.read("a")
    assert record is not None
    assert (record.arm.wanted, record.arm.refused) == (True, "invalid_client")
    assert store.load(0).wanted_arms == 5, "so somebody stays awake, and the sweep runs what comes due"


@pytest.mark.parametrize("refusal", ["401", "403"])
def test_it_arms_everything_once_the_credential_is_replaced(
    nas: Nas, store: Store, make: Make, token_file: Path, refusal: str
) -> None:
    if refusal == "403":
        nas.misbehave = lambda call: (403, {"error": "invalid_client"}, {}) if call.token == "old" else None
    chronos = make(access_token=NO_SECRET, access_token_file=str(token_file))
    for name in "abc":
        add(store, name)
    start(chronos, store)
    assert store.load(0).wanted_arms == 3
    token_file.write_text("good\n")
    assert until(lambda: calm(store))
    assert set(nas.armed) == {"a", "b", "c"}


def test_it_arms_what_was_refused_in_its_life_once_the_credential_is_replaced(
    nas: Nas, store: Store, make: Make, token_file: Path
) -> None:
    nas.token = "old"
    chronos = make(access_token=NO_SECRET, access_token_file=str(token_file))
    start(chronos, store)
    nas.misbehave = lambda call: (
        (403, {"error": "invalid_client"}, {}) if call.token == "old" else
        (400, {"error": "no"}, {}) if nas.token == "old" else None
    )  # fmt: skip
    for name in "ab":
        add(store, name)
        assert not chronos.arm(name, 30)
    nas.token = "good"
    token_file.write_text("good\n")
    assert until(lambda: calm(store))


def test_it_notices_that_a_command_prints_another_token(nas: Nas, store: Store, make: Make, token_file: Path) -> None:
    chronos = make(access_token=NO_SECRET, access_token_command=f"cat {token_file}")
    nas.misbehave = lambda call: (403, {"error": "invalid_client"}, {}) if call.token == "old" else None
    add(store, "a")
    add(store, "b")
    start(chronos, store)
    token_file.write_text("good\n")
    chronos._client.renew_token(30)
    assert until(lambda: calm(store))


def test_one_refused_job_holds_up_no_other(nas: Nas, store: Store, make: Make) -> None:
    def refuse(call: Call) -> tuple[int, object, dict[str, str]] | None:
        return (400, {"error": "no"}, {}) if "bad" in str(call.body) else None

    nas.misbehave = refuse
    for name in ("bad", "good", "fine"):
        add(store, name)
    start(make(), store)
    assert until(lambda: {"good", "fine"} <= set(nas.armed))

    def bad() -> tuple[bool, str | None]:
        record = store.read("bad")
        assert record
        return record.arm.wanted, record.arm.refused

    assert until(lambda: bad() == (True, "no"))
    calls = len(nas.calls)
    time.sleep(0.5)
    assert len(nas.calls) == calls


def test_stop_makes_one_last_try(nas: Nas, store: Store, make: Make) -> None:
    chronos = make()
    start(chronos, store)
    add(store, "a")
    store.change("a", change.pause)
    add(store, "b")
    chronos.stop()
    assert set(nas.armed) == {"b"}


def test_stop_ends_soon_though_nas_hangs(nas: Nas, store: Store, make: Make) -> None:
    chronos = make()
    start(chronos, store)
    over = threading.Event()
    nas.misbehave = lambda call: over.wait(90) and None
    add(store, "a")
    began = time.monotonic()
    chronos.stop()
    assert time.monotonic() - began < 60
    over.set()


class Lost:
    """A store that cannot be reached for a while."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.lost = False

    def __getattr__(self, name: str) -> object:
        if self.lost:
            raise StoreError("The store is away.")
        return getattr(self._store, name)


def test_it_outlives_a_store_that_is_away_for_a_while(
    nas: Nas, store: Store, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    away = Lost(store)
    chronos = make(ladder=LADDER)
    start(chronos, away)  # type: ignore[arg-type]  # loosely typed, as tests are.
    add(store, "a")
    away.lost = True
    assert not chronos.arm("a", 0.3)
    assert set(chronos.on_jobs_changed(["a"])) == {"a"}
    time.sleep(0.5)
    away.lost = False
    assert until(lambda: len(nas.armed) == 5 and calm(store))
    assert sum("cannot be looked up" in text for text in caplog.messages) < 6


def test_i8_is_available_opens_no_connection(
    nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token_file: Path
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    none = NO_SECRET
    empty = tmp_path / "empty"
    empty.write_text("")
    for changes, available in [
        ({}, True),
        ({"portal_url": ""}, False),
        ({"callback_url": ""}, False),
        ({"access_token": none}, False),
        ({"access_token": none, "access_token_file": str(token_file)}, True),
        ({"access_token": none, "access_token_file": str(empty)}, False),
        ({"access_token": none, "access_token_file": str(tmp_path / "gone")}, False),
        ({"access_token": none, "access_token_command": "printf good"}, True),
        ({"access_token": none, "access_token_command": "no-such-program-here x"}, False),
        ({"access_token": Secret("x")}, True),
    ]:
        scheduler = ChronosCronScheduler(chronos_settings(nas, **changes))
        assert scheduler.is_available() is available, changes
    assert nas.calls == []
