"""`/healthz`, `/readyz`, `/api/cron/load`, and what the framework refuses by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import falcon.testing
import pytest

from hermes_cron.errors import BrokerError, ConfigError, StoreError
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Broker, Store
from hermes_cron.rules import arms, change
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.webapp import make_webapp
from tests.unit.parts import LEASE, FakeClock, ListBroker, add

NUMBERS = ("queued", "open_runs", "dead_leases", "waiting", "due", "wanted_arms")


class Keys:
    """A verifier that only knows whether it has its keys."""

    def __init__(self, *, there: bool) -> None:
        self.there = there

    def __call__(self, token: str, body: bytes) -> Mapping[str, Any]:
        return {}

    def ready(self) -> bool:
        return self.there


def client(broker: Broker, store: Callable[[], Store], *, keys: bool = True) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(make_webapp(Keys(there=keys), broker, store))


def no_store() -> Store:
    raise StoreError("away")


@pytest.fixture
def broker() -> ListBroker:
    return ListBroker()


def test_healthz_needs_nothing(broker: ListBroker) -> None:
    broker.fault = BrokerError("gone")
    answer = client(broker, no_store, keys=False).simulate_get("/healthz")
    assert (answer.status_code, answer.json, answer.headers["cache-control"]) == (200, {"status": "ok"}, "no-store")


@pytest.mark.parametrize("queue", [True, False])
@pytest.mark.parametrize("keys", [True, False])
def test_readyz_tells_which_part_is_not(broker: ListBroker, *, queue: bool, keys: bool) -> None:
    broker.fault = None if queue else BrokerError("gone")
    answer = client(broker, no_store, keys=keys).simulate_get("/readyz")
    words = {True: "ok", False: "unavailable"}
    assert answer.json == {"ready": queue and keys, "broker": words[queue], "keys": words[keys]}
    assert answer.status_code == (200 if queue and keys else 503)
    assert ("retry-after" in answer.headers) == (not (queue and keys))


def test_load_is_zero_when_it_is_safe_to_sleep(broker: ListBroker, store: Store) -> None:
    answer = client(broker, lambda: store).simulate_get("/api/cron/load")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.json == {"load": 0, **dict.fromkeys(NUMBERS, 0), "refused": []}


def test_load_counts_every_kind_of_work(broker: ListBroker, store: Store, clock: FakeClock) -> None:
    ask = client(broker, lambda: store)
    broker.enqueue(Fire("x"))
    add(store, "soon", "every 15m")
    add(store, "now", "every 15m", overlap="queue")
    clock.advance(14 * 60 + 1)
    assert ask.simulate_get("/api/cron/load").json["due"] == 2
    clock.advance(59)
    store.change("now", partial(claim, fire=Fire("now"), claimer=Claimer("w", LEASE)))
    store.change("now", partial(change.run_now, uuid="1"))
    found = ask.simulate_get("/api/cron/load").json
    assert {name: found[name] for name in NUMBERS} == {
        "queued": 1, "open_runs": 1, "dead_leases": 0, "waiting": 1, "due": 1, "wanted_arms": 2,
    }  # fmt: skip
    assert found["load"] == 6
    clock.advance(31)
    found = ask.simulate_get("/api/cron/load").json
    assert (found["open_runs"], found["dead_leases"]) == (0, 1)


def test_i11_load_names_why_nas_refuses_an_alarm_and_no_more_than_a_word_of_it(
    broker: ListBroker, store: Store
) -> None:
    ask = client(broker, lambda: store)
    for number, reason in enumerate(["invalid_client", "invalid_client", "<b>anything</b> at all", None]):
        add(store, f"a{number}")
        order = store.change(f"a{number}", partial(arms.lease, token="t"))
        store.change(f"a{number}", partial(arms.give_up, order=order, settled=True, refused=reason))
    found = ask.simulate_get("/api/cron/load").json
    assert (found["load"], found["wanted_arms"]) == (4, 4)
    assert found["refused"] == ["invalid_client", "refused"]


@pytest.mark.parametrize("error", [StoreError("away"), ConfigError("odd"), ZeroDivisionError("a bug")])
def test_load_counts_what_cannot_be_read_as_busy(broker: ListBroker, error: Exception) -> None:
    def fail() -> Store:
        raise error

    broker.fault = BrokerError("gone")
    answer = client(broker, fail).simulate_get("/api/cron/load")
    assert (answer.status_code, answer.json) == (200, {"load": 2, "queued": None, "store": None, "refused": []})


def test_opens_the_store_at_the_first_question_and_once(broker: ListBroker, store: Store) -> None:
    opened: list[int] = []

    def slowly() -> Store:
        opened.append(1)
        time.sleep(0.05)
        return store

    ask = client(broker, slowly)
    ask.simulate_get("/healthz")
    assert not opened
    threads = [threading.Thread(target=ask.simulate_get, args=("/api/cron/load",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert opened == [1]


def test_a_store_that_could_not_be_opened_is_tried_again(broker: ListBroker, store: Store) -> None:
    left = [StoreError("away")]

    def opened() -> Store:
        if left:
            raise left.pop()
        return store

    ask = client(broker, opened)
    assert ask.simulate_get("/api/cron/load").json["load"] == 1
    assert ask.simulate_get("/api/cron/load").json["load"] == 0


@pytest.mark.parametrize(
    ("method", "path", "code"), [("GET", "/nothing", 404), ("POST", "/healthz", 405), ("GET", "/api/cron/fire", 405)]
)
def test_refusals_of_the_framework_are_json_too(broker: ListBroker, method: str, path: str, code: int) -> None:
    answer = client(broker, no_store).simulate_request(method, path)
    assert answer.status_code == code
    assert answer.json["error"]["code"] == str(code)
    assert answer.json["error"]["message"]


def test_a_bug_is_answered_without_its_words_and_logged(
    broker: ListBroker, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    broker.fault = ZeroDivisionError("secret")
    headers = {"Authorization": "Bearer a"}
    answer = client(broker, no_store).simulate_post("/api/cron/fire", body=b'{"job_id": "a"}', headers=headers)
    assert answer.status_code == 500
    assert b"secret" not in answer.content
    assert answer.json["error"]["code"] == "500"
    assert "secret" in caplog.text
    assert capsys.readouterr().err == ""
