"""`POST /api/cron/fire`: who is let in, what is said to the others, and that nothing else is touched."""

from __future__ import annotations

import hashlib
import inspect
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import falcon.testing
import pytest

from hermes_cron.errors import BrokerError, Draining, KeysUnavailable
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Broker
from hermes_cron.transport import open_broker
from hermes_cron.transport.door import Door
from hermes_cron.verify import refuse_all
from hermes_cron.verify.keys import PinnedKeys, read_jwk
from hermes_cron.verify.token import NasVerifier
from hermes_cron.webapp import make_webapp
from hermes_cron.webhook import FireWebhook
from tests.unit.parts import NOON, FakeClock, ListBroker, until
from tests.unit.verify.mint import AUDIENCE, ISSUER, Pair, good_claims, new_pair

PATH = "/api/cron/fire"
BODY = b'{"job_id": "tides.north", "fire_at": "2026-07-01T12:00:00+00:00"}'
PAIR, OTHER = new_pair("ES256", "one"), new_pair("ES256", "two")


class Web:
    """The web application over a real verifier, and a client of it."""

    def __init__(self, broker: Broker) -> None:
        self.clock = FakeClock()
        keys = PinnedKeys([read_jwk(PAIR.jwk)])
        verifier = NasVerifier(keys, AUDIENCE, ISSUER, require_bound=False, clock=self.clock)
        self.app = make_webapp(verifier, broker, no_store)
        self.client = falcon.testing.TestClient(self.app)

    def token(self, pair: Pair = PAIR, **changes: Any) -> str:
        return pair.sign(good_claims(self.clock.now, **changes))

    def post(self, body: bytes = BODY, token: str | None = None, headers: Mapping[str, str] | None = None,
             **extras: Any) -> falcon.testing.Result:  # fmt: skip
        given = {"Authorization": f"Bearer {self.token() if token is None else token}",
                 "Content-Type": "application/json", **(headers or {})}  # fmt: skip
        given = {name: value for name, value in given.items() if value != "-"}
        return self.client.simulate_post(PATH, body=body, headers=given, **extras)


def no_store() -> Any:
    raise AssertionError("a fire needs no store")


@pytest.fixture
def broker() -> ListBroker:
    return ListBroker()


@pytest.fixture
def web(broker: ListBroker) -> Web:
    return Web(broker)


@pytest.fixture
def memory() -> Iterator[Broker]:
    new = open_broker("memory://", f"test-{uuid.uuid4().hex}")
    yield new
    new.close()


class TestSeedCases:
    """The five answers that everybody relies on."""

    def test_401_for_a_bad_token(self, web: Web, broker: ListBroker) -> None:
        assert web.post(token="garbage").status_code == 401
        assert not broker.fires

    def test_401_for_a_missing_token(self, web: Web, broker: ListBroker) -> None:
        assert web.post(headers={"Authorization": "-"}).status_code == 401
        assert not broker.fires

    def test_401_for_a_forged_token(self, web: Web, broker: ListBroker) -> None:
        assert web.post(token=OTHER.sign(good_claims(NOON), {"kid": "one"})).status_code == 401
        assert not broker.fires

    def test_400_without_a_job_id(self, web: Web, broker: ListBroker) -> None:
        assert web.post(b"{}").status_code == 400
        assert not broker.fires

    def test_202_and_the_fire_is_on_the_queue(self, memory: Broker) -> None:
        answer = Web(memory).post()
        assert answer.status_code == 202
        assert answer.json == {
            "status": "accepted", "job_id": "tides.north", "dedup_key": "tides.north:2026-07-01T12:00:00+00:00",
        }  # fmt: skip
        found: list[Fire] = []
        memory.consume(lambda delivery: found.append(delivery.fire), lambda: 1, lambda: bool(found))
        assert (found[0].job_id, found[0].fire_at, found[0].kind) == ("tides.north", NOON, "fire")
        assert found[0].received_at is not None

    def test_no_api_key_is_needed(self, web: Web) -> None:
        assert web.post(headers={"X-Api-Key": "-"}).status_code == 202


BAD_TOKENS: list[dict[str, Any]] = [
    {"Authorization": "-"}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "},
    {"Authorization": "Basic dTpw"}, {"Authorization": "Bearer a.b.c"}, {"Authorization": "Bearer \xe9"},
    {"Authorization": "Bearer " + "x" * 20_000}, {"Authorization": "Bearer\ta.b.c"},
    {"Authorization": f"Bearer {OTHER.sign(good_claims(NOON), {'kid': 'one'})}"},
    *[{"Authorization": f"Bearer {PAIR.sign(good_claims(NOON, **changes))}"} for changes in (
        {"aud": "agent:other"}, {"iss": "https://evil.example"}, {"purpose": "chat"}, {"purpose": ...},
        {"exp": 1}, {"job_id": "tides.south"}, {"fire_at": "2026-07-01T12:00:01+00:00"},
        {"body_sha256": hashlib.sha256(b"other").hexdigest()},
    )],
]  # fmt: skip


@pytest.mark.parametrize("headers", BAD_TOKENS)
def test_i4_every_401_is_byte_for_byte_the_same(web: Web, broker: ListBroker, headers: dict[str, str]) -> None:
    answer = web.post(headers=headers)
    assert (answer.status_code, answer.content) == (401, b'{"error": "invalid fire token"}')
    assert sorted(answer.headers.items()) == [
        ("content-length", "31"), ("content-type", "application/json"), ("www-authenticate", "Bearer"),
    ]  # fmt: skip
    assert not broker.fires


def test_i3_without_a_key_every_token_is_refused(broker: ListBroker) -> None:
    client = falcon.testing.TestClient(make_webapp(refuse_all, broker, no_store))
    headers = {"Authorization": f"Bearer {PAIR.sign(good_claims(NOON))}"}
    assert client.simulate_post(PATH, body=BODY, headers=headers).status_code == 401
    assert not broker.fires


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"not json", {}), (b"", {}), (b"{}", {"Content-Type": "text/plain"}), (b"x" * 20_000, {}),
        (b"{}", {"Content-Length": "9"}), (b"{}", {"Content-Length": "99999999"}),
        (BODY, {"Content-Encoding": "gzip"}), (b"[" * 16_000, {}),
    ],
)  # fmt: skip
def test_judges_the_token_before_the_body(web: Web, body: bytes, headers: dict[str, str]) -> None:
    for token in ({"Authorization": "-"}, {"Authorization": "Bearer a.b.c"}):
        assert web.post(body, headers={**headers, **token}).status_code == 401


def test_takes_the_exact_bytes_that_a_token_is_bound_to(web: Web) -> None:
    body = b'{ "job_id":"a",  "x": 1 }\n'
    digest = hashlib.sha256(body).hexdigest()
    assert web.post(body, web.token(body_sha256=digest)).status_code == 202
    assert web.post(body[:-1], web.token(body_sha256=digest)).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_takes_the_scheme_in_any_case(web: Web, scheme: str) -> None:
    assert web.post(headers={"Authorization": f"{scheme} {web.token()}"}).status_code == 202
    assert web.post(headers={"Authorization": f"{scheme}   {web.token()}  "}).status_code == 202


def test_two_authorization_headers_never_pass(web: Web) -> None:
    good = f"Bearer {web.token()}"
    for joined in (f"{good},{good}", f"{good}, {good}", f"Bearer a.b.c,{good}", f"{good},", f",{good}"):
        assert web.post(headers={"Authorization": joined}).status_code == 401


@pytest.mark.parametrize(
    "kind", ["-", "application/json", "application/json; charset=utf-8", "Application/JSON ;charset=UTF-8"]
)
def test_takes_json(web: Web, kind: str) -> None:
    assert web.post(headers={"Content-Type": kind}).status_code == 202


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json"])
def test_415_for_another_type(web: Web, broker: ListBroker, kind: str) -> None:
    assert web.post(headers={"Content-Type": kind}).status_code == 415
    assert not broker.fires


def test_415_for_an_encoded_body(web: Web) -> None:
    assert web.post(headers={"Content-Encoding": "gzip"}).status_code == 415


def test_413_for_more_than_16_kib(web: Web, broker: ListBroker) -> None:
    fits = b'{"job_id": "a"}' + b" " * (16 * 1024 - 15)
    assert web.post(fits).status_code == 202
    assert web.post(fits + b" ").status_code == 413
    assert len(broker.fires) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
def test_405_for_another_method(web: Web, method: str) -> None:
    answer = web.client.simulate_request(method, PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")


@pytest.mark.parametrize("path", [f"{PATH}/", "/api/cron/fire/x", "/api//cron/fire", "/API/cron/fire"])
def test_404_for_another_path(web: Web, path: str) -> None:
    assert web.client.simulate_post(path, body=BODY).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'"a"', b"3", b"{", b"\xff\xfe", b"{}{}", b'{"job_id": null}', b'{"job_id": 3}',
        b'{"job_id": ""}', b'{"job_id": ".a"}', b'{"job_id": "a b"}', b'{"job_id": "a\\n"}', b'{"job_id": "\xc3\xa9"}',
        b'{"job_id": "\\ud800"}', b'{"job_id": "a/../b"}', b'{"job_id": ["a"]}',
        json.dumps({"job_id": "a" * 256}).encode(), b"[" * 16_000, b'{"a":' * 3_000, b'{"job_id": ' + b"9" * 9_000,
    ],
)  # fmt: skip
def test_400_for_what_is_no_fire(web: Web, broker: ListBroker, body: bytes) -> None:
    answer = web.post(body)
    assert answer.status_code == 400
    assert isinstance(answer.json["error"], str)
    assert not broker.fires


@pytest.mark.parametrize(
    "fire_at",
    [
        "", "now", "2026-07-01", "2026-07-01T12:00:00", "12:00", 3, True, [], {}, "2026-02-30T00:00:00Z", "\ud800",
        "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00", "2026-07-01T12:00:00+25:00", "2" * 70,
        "2026-07-01T12:00:00+00:00\n",
    ],
)  # fmt: skip
def test_400_for_an_instant_that_cannot_be_read(web: Web, broker: ListBroker, fire_at: object) -> None:
    answer = web.post(json.dumps({"job_id": "a", "fire_at": fire_at}).encode())
    assert answer.status_code == 400
    assert "fire_at" in answer.json["error"]
    assert not broker.fires


@pytest.mark.parametrize("job_id", ["a", "a" * 255, "A.b_c:d@e-1", "_wake.1", "-", "0"])
def test_takes_every_id_of_the_wire(web: Web, job_id: str) -> None:
    assert web.post(json.dumps({"job_id": job_id}).encode()).json["job_id"] == job_id


def test_ignores_unknown_fields(web: Web) -> None:
    assert web.post(b'{"job_id": "a", "more": {"\\ud800": [1e999, NaN]}}').status_code == 202


@pytest.mark.parametrize("body", [b'{"job_id": "a"}', b'{"job_id": "a", "fire_at": null}'])
def test_the_dedup_key_is_null_without_an_instant(web: Web, broker: ListBroker, body: bytes) -> None:
    assert web.post(body).json == {"status": "accepted", "job_id": "a", "dedup_key": None}
    assert broker.fires[0].fire_at is None


@pytest.mark.parametrize(
    "text",
    ["2026-07-01T12:00:00Z", "2026-07-01T12:00:00+00:00", "2026-07-01T14:00:00.000+02:00", "20260701T120000Z",
     "2026-07-01T12:00Z", "2026-07-01 12:00:00-00:00"],
)  # fmt: skip
def test_one_instant_has_one_dedup_key(web: Web, text: str) -> None:
    answer = web.post(json.dumps({"job_id": "a", "fire_at": text}).encode())
    assert answer.json["dedup_key"] == "a:2026-07-01T12:00:00+00:00"


def test_keeps_the_last_instant_there_is(web: Web) -> None:
    body = b'{"job_id": "a", "fire_at": "9999-12-31T23:59:59.999999Z"}'
    assert web.post(body).json["dedup_key"] == "a:9999-12-31T23:59:59.999999+00:00"


def test_i13_a_replay_answers_the_same(web: Web) -> None:
    token = web.token(jti="1")
    first, second = web.post(token=token), web.post(token=token)
    assert (first.status, first.content, first.headers) == (second.status, second.content, second.headers)


@pytest.mark.parametrize(
    ("error", "seconds", "code"),
    [(BrokerError("amqp://secret@host is gone"), "5", "broker_unreachable"), (Draining("it ends"), "1", "draining")],
)  # fmt: skip
def test_503_when_it_cannot_be_queued(web: Web, broker: ListBroker, error: Exception, seconds: str, code: str) -> None:
    broker.fault = error
    answer = web.post()
    assert (answer.status_code, answer.headers["retry-after"], answer.json) == (503, seconds, {"error": code})


class NoKeys:
    """A verifier whose keys cannot be had."""

    def __call__(self, token: str, body: bytes) -> Mapping[str, Any]:
        raise KeysUnavailable("https://nas.example is away", retry_after=7)

    def ready(self) -> bool:
        return False


def test_503_when_the_keys_cannot_be_had(broker: ListBroker) -> None:
    client = falcon.testing.TestClient(make_webapp(NoKeys(), broker, no_store))
    for body in (BODY, b"bad", b"x" * 20_000):
        answer = client.simulate_post(PATH, body=body, headers={"Authorization": "Bearer a.b.c"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
        assert answer.json == {"error": "keys_unavailable"}
    assert not broker.fires


def test_503_once_the_door_is_shut_and_202_when_it_opens(memory: Broker) -> None:
    door = Door(memory)
    web = Web(door)
    door.shut()
    answer = web.post()
    assert (answer.status_code, answer.headers["retry-after"], memory.depth()) == (503, "1", 0)
    door.open()
    assert web.post().status_code == 202
    assert until(lambda: memory.depth() == 1)


def test_the_log_tells_the_reason_and_never_the_token(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    token = web.token(aud="agent:other")
    web.post(token=token)
    assert "audience" in caplog.text
    assert token not in caplog.text
    assert token.rpartition(".")[2] not in caplog.text


def test_i2_is_handed_a_verifier_a_broker_and_a_clock() -> None:
    assert list(inspect.signature(FireWebhook).parameters) == ["verifier", "broker", "clock"]


def test_i2_imports_no_store_no_queue_and_no_client() -> None:
    script = (
        "import sys, hermes_cron.webhook, hermes_cron.webapp\n"
        "heavy = {'sqlalchemy', 'kombu', 'httpx', 'redis', 'psycopg', 'jwt', 'cryptography'}\n"
        "rooms = {'store', 'verify', 'providers', 'worker', 'firing', 'outbound', 'bootstrap'}\n"
        "print(sorted(heavy & set(sys.modules)), sorted(r for r in rooms if f'hermes_cron.{r}' in sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=90, check=True)
    assert ran.stdout.strip() == "[] []"
