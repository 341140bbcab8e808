"""The API over real parts: a store on a file whose clock stands still, a scheduler that remembers, no network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from hermes_cron.apikeys import KeyRing, add_key
from hermes_cron.client import Client
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.task import Task
from hermes_cron.verify import refuse_all
from hermes_cron.webapp import Desk, make_webapp
from tests.unit.parts import FakeClock, ListBroker, Scheduler


def tide(place: str = "north", *, units: str = "m") -> None: ...


@dataclass
class Api:
    """The web application, and a client of it that sends what curl on this machine would."""

    store: Store
    clock: FakeClock
    keys: KeyRing | None = None
    bind: str = "127.0.0.1:8080"
    broker: ListBroker = field(default_factory=ListBroker)
    scheduler: Scheduler = field(default_factory=Scheduler)
    rung: list[Fire] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = Client(self.store, self.scheduler, {"tide": Task("tide", tide)}, bell=self.rung.append)
        desk = Desk(lambda store: self.client, self.keys, self.bind)
        self.app = make_webapp(refuse_all, self.broker, lambda: self.store, desk)
        self.http = falcon.testing.TestClient(self.app)

    def ask(self, method: str, path: str, body: object = None, *, headers: Mapping[str, str] | None = None,
            peer: str = "127.0.0.1", raw: bytes | None = None, host: str = "localhost:8080",
            ) -> falcon.testing.Result:  # fmt: skip
        """One request. A header given as "-" is left out."""
        path, _, query = path.partition("?")
        sent = {"Host": host, **self.headers, **(headers or {})}
        if body is not None or raw is not None:
            sent = {"Content-Type": "application/json", **sent}
        sent = {name: value for name, value in sent.items() if value != "-"}
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        return self.http.simulate_request(
            method, path, query_string=query, headers=sent, body=data, remote_addr=peer, protocol="http",
        )  # fmt: skip

    def good(self, method: str, path: str, body: object = None, **more: Any) -> Any:
        """The JSON of an answer that is none of refusal."""
        answer = self.ask(method, path, body, **more)
        assert answer.status_code < 300, answer.text
        return answer.json

    def add(self, job_id: str = "tide.north", schedule: str = "every 15m", **more: Any) -> Any:
        return self.good("POST", "/api/cron/jobs", {"id": job_id, "schedule": schedule, "task": "tide", **more})


def code(answer: falcon.testing.Result) -> tuple[int, str]:
    """The status and the code of a refusal."""
    return answer.status_code, answer.json["error"]["code"]


@pytest.fixture
def make_api(store: Store, clock: FakeClock) -> Callable[..., Api]:
    return lambda **more: Api(store, clock, **more)


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    """The API as it is without keys."""
    return make_api()


@dataclass
class Keys:
    """A file of keys, and the keys."""

    file: Path
    read: str
    write: str


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    file = tmp_path / "api-keys"
    return Keys(file, add_key(file, "looker", ["read"]), add_key(file, "operator", ["write"]))
