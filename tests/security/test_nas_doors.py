"""NAS as it is shipped: an agent is held to its own and to its share, a key to its file, the relay to its moment."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from hermes_cron import contract
from hermes_cron.outbound import Answer
from tests.contract.nas_parts import AgentServer, answer, instant
from tests.integration.system import System, children
from tests.security.names import Names

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]
FAR = "2099-01-01T00:00:00+00:00"
NOWHERE = "https://nobody.invalid"


class Door:
    """A NAS that serves, with a relay secret and these flags, and agents `one` and `two`."""

    def __init__(self, system: System, *flags: str) -> None:
        self.system = system
        self.home = system.home / "nas"
        secret = system.home / "relay"
        secret.touch(0o600)
        secret.write_text("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
        fd = system.nas_socket.fileno()
        self.process = system.start(
            "nas", "nas", "serve", "--home", str(self.home), "--bind", f"fd://{fd}", "--public-url", system.nas_url,
            "--relay-secret-file", str(secret), *flags, fds=(fd,),
        )  # fmt: skip
        system.wait(lambda: system.answers(system.nas_url + "/healthz"), "NAS answers")
        for name in ("one", "two"):
            self.command("agents", "add", name, "--audience", name, "--token-file", str(system.home / name))

    def command(self, *words: str) -> None:
        done = self.system.cli("nas", *words, "--home", str(self.home))
        assert done.returncode == 0, done.stderr

    def ask(self, name: str, method: str, path: str, **body: Any) -> Answer:
        """A call of an agent, or of whoever has this token."""
        file = self.system.home / name
        token = file.read_text().strip() if file.exists() else name
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        raw = json.dumps(body).encode() if method == "POST" else None
        url = self.system.nas_url + path
        return self.system.outbound.request(method, url, headers=headers, body=raw, deadline=20)

    def arm(self, name: str, job_id: str, fire_at: str = FAR, url: str = NOWHERE) -> Answer:
        arm = {"job_id": job_id, "fire_at": fire_at, "agent_callback_url": url, "dedup_key": f"{job_id}:{fire_at}"}
        return self.ask(name, "POST", contract.PROVISION_PATH, **arm)

    def armed(self, name: str) -> list[str]:
        return [row["job_id"] for row in json.loads(self.ask(name, "GET", contract.LIST_PATH).body)["armed"]]

    def relay(
        self, *, late: float = 0, call: str = "call", secret: str = "", schedule_id: str = "none", sent: bytes = b""
    ) -> int:  # fmt: skip
        stamp = str(int(time.time() - late))
        key = base64.b64decode((secret or (self.system.home / "relay").read_text()).removeprefix("whsec_"))
        raw = json.dumps({"schedule_id": schedule_id}).encode()
        signature = base64.b64encode(hmac.digest(key, f"{call}.{stamp}.".encode() + raw, "sha256")).decode()
        headers = {"Webhook-Id": call, "Webhook-Timestamp": stamp, "Webhook-Signature": f"v1,{signature}"}
        url = self.system.nas_url + contract.RELAY_PATH
        return self.system.outbound.request("POST", url, headers=headers, body=sent or raw, deadline=20).status

    def keys(self) -> dict[str, Any]:
        answer = self.system.outbound.request("GET", self.system.nas_url + contract.JWKS_PATH, deadline=20)
        return {key["kid"]: key for key in json.loads(answer.body)["keys"]}

    def threads(self) -> int:
        """How many threads the process that serves has now."""
        [child] = children(self.process.pid)
        return len(list(Path(f"/proc/{child}/task").iterdir()))


@pytest.fixture
def open_door(make_system: Callable[..., System]) -> Callable[..., Door]:
    """A NAS with these flags."""
    return lambda *flags, **env: Door(make_system("memory://", env=env), *flags)


@pytest.fixture
def nas(open_door: Callable[..., Door]) -> Door:
    """A NAS as it is."""
    return open_door()


@pytest.fixture
def agent() -> Iterator[AgentServer]:
    """Where fires are taken."""
    server = AgentServer()
    yield server
    server.close()


def test_an_agent_sees_and_touches_only_its_own(nas: Door) -> None:
    assert nas.arm("one", "tide").status == 200
    assert nas.armed("two") == []
    assert nas.ask("two", "POST", contract.CANCEL_PATH, job_id="tide").status == 200
    assert nas.armed("one") == ["tide"]
    assert nas.arm("two", "tide").status == 200
    assert nas.ask("two", "POST", contract.BATCH_PATH, cancel=["tide"]).status == 200
    assert nas.armed("one") == ["tide"]


def test_whoever_is_no_agent_is_told_nothing_more(nas: Door) -> None:
    nas.command("agents", "revoke", "two")
    calls = [("POST", contract.PROVISION_PATH), ("POST", contract.CANCEL_PATH), ("GET", contract.LIST_PATH),
             ("POST", contract.BATCH_PATH), ("GET", contract.CAPABILITIES_PATH)]  # fmt: skip
    answers = {(nas.ask("hcn_forged", *call).status, nas.ask("hcn_forged", *call).body) for call in calls}
    assert len(answers) == 1
    assert answers.pop()[0] == 401
    assert {nas.ask("two", *call).status for call in calls} == {403}
    kept = [file.read_bytes() for file in nas.home.iterdir()]
    assert not any((nas.system.home / "one").read_bytes().strip() in text for text in kept), "only hashes are kept"


def test_a_revoked_agent_is_dead_at_once_and_so_is_what_it_armed(
    open_door: Callable[..., Door], agent: AgentServer
) -> None:
    nas = open_door("--allow-private-callbacks")
    agent.will(answer(503, Retry_After="3600"))
    schedule_id = json.loads(nas.arm("two", "of-two", instant(), agent.url).body)["schedule_id"]
    assert agent.fire(60).body["job_id"] == "of-two"
    nas.system.wait(lambda: "attempt=1 " in nas.system.log("nas"), "the end of the attempt")
    nas.command("agents", "revoke", "two")
    assert nas.arm("two", "more", instant(), agent.url).status == 403
    # 200 says that there is nothing to hurry any more; 202 would have had it delivered before what comes next.
    assert nas.relay(schedule_id=schedule_id) == 200
    assert nas.arm("one", "last", instant(1), agent.url).status == 200
    assert agent.fire(60).body["job_id"] == "last"
    assert agent.fires.empty()


def test_an_agent_that_floods_is_told_when_to_come_back_and_takes_nobody_elses_share(
    open_door: Callable[..., Door],
) -> None:
    nas = open_door("--calls-per-second", "1")
    calls = (nas.ask("one", "GET", contract.LIST_PATH) for _ in range(1000))
    refused = next(call for call in calls if call.status != 200)
    assert (refused.status, json.loads(refused.body)["error"]) == (429, "too_many_calls")
    assert int(refused.headers["retry-after"]) == 1
    assert [nas.ask("two", "GET", contract.LIST_PATH).status for _ in range(5)] == [200] * 5


def test_a_batch_is_paid_for_by_what_is_in_it(open_door: Callable[..., Door]) -> None:
    nas = open_door("--calls-per-second", "1")
    items = [{"job_id": f"j{n}", "fire_at": FAR, "agent_callback_url": NOWHERE} for n in range(contract.BATCH_LIMIT)]
    assert nas.ask("one", "POST", contract.BATCH_PATH, provision=items).status == 200
    refused = nas.ask("one", "GET", contract.LIST_PATH)
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) > 1
    assert nas.armed("two") == []


def test_an_agent_over_its_quota_keeps_what_it_has_and_others_have_theirs(open_door: Callable[..., Door]) -> None:
    nas = open_door("--quota", "3")
    items = [{"job_id": f"j{n}", "fire_at": FAR, "agent_callback_url": NOWHERE} for n in range(5)]
    results = json.loads(nas.ask("one", "POST", contract.BATCH_PATH, provision=items).body)["provision"]
    assert [result["status"] for result in results] == [200, 200, 200, 429, 429]
    refused = nas.arm("one", "more")
    assert (refused.status, json.loads(refused.body)["error"]) == (429, "over_quota")
    assert int(refused.headers["retry-after"]) >= 1
    assert nas.arm("one", "j0", "2098-01-01T00:00:00+00:00").status == 200
    assert nas.arm("two", "more").status == 200
    assert nas.ask("one", "POST", contract.CANCEL_PATH, job_id="j1").status == 200
    assert nas.arm("one", "more").status == 200
    assert nas.armed("one") == ["j0", "j2", "more"]


def test_names_that_hang_take_neither_threads_nor_other_agents_calls(
    open_door: Callable[..., Door], tmp_path: Path
) -> None:
    nas = open_door(**Names(tmp_path / "names").env)
    before = nas.threads()
    answers: list[Answer] = []

    def flood(number: int) -> None:
        items = [{"job_id": f"j{n}", "fire_at": FAR, "agent_callback_url": f"https://a{number}-{n}.hang.example"}
                 for n in range(contract.BATCH_LIMIT)]  # fmt: skip
        answers.append(nas.ask("one", "POST", contract.BATCH_PATH, provision=items))

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    assert nas.arm("two", "tide").status == 200
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, nas.threads() - before)
        threads[0].join(0.1)
    most = max(most, nas.threads() - before)
    assert [answer.status for answer in answers] == [200] * 16, "a name that cannot be looked up now may stand"
    assert nas.armed("two") == ["tide"]
    # Its own threads for calls, and one for each name whose look-up was begun: a few, of 8,000 names.
    assert most < 100


def test_the_relay_takes_a_call_in_its_moment_and_no_other(nas: Door) -> None:
    assert nas.relay() == 200
    assert nas.relay(call="again", late=240) == 200
    assert nas.relay(call="old", late=310) == 401
    assert nas.relay(call="early", late=-420) == 401
    assert nas.relay(call="forged", secret=base64.b64encode(b"x" * 32).decode()) == 401
    assert nas.relay(call="changed", sent=b'{"schedule_id": "other"}') == 401
    url = nas.system.nas_url + contract.RELAY_PATH
    assert nas.system.outbound.request("POST", url, body=b"{}", deadline=20).status == 401


def test_a_call_of_the_relay_that_is_sent_again_does_nothing_again(
    open_door: Callable[..., Door], agent: AgentServer
) -> None:
    nas = open_door("--allow-private-callbacks")
    # The agent, whose answers say so, wants to be left alone for longer than this test lasts.
    agent.will(*[answer(503, Retry_After="3600")] * 3)
    schedule_id = json.loads(nas.arm("one", "job", instant(), agent.url).body)["schedule_id"]
    assert agent.fire(60).body["job_id"] == "job"
    nas.system.wait(lambda: "attempt=1 " in nas.system.log("nas"), "the end of the first attempt")
    assert nas.relay(call="a", schedule_id=schedule_id) == 202
    assert agent.fire(60).body["job_id"] == "job"
    nas.system.wait(lambda: "attempt=2 " in nas.system.log("nas"), "the end of the second attempt")
    assert nas.relay(call="a", schedule_id=schedule_id) == 202
    # What comes due after it is delivered after it.
    assert nas.arm("one", "marker", instant(1), agent.url).status == 200
    assert agent.fire(60).body["job_id"] == "marker"
    assert agent.fires.empty()


def test_the_keys_are_for_their_owner_and_rotate_with_an_overlap_while_it_serves(
    open_door: Callable[..., Door], agent: AgentServer
) -> None:
    nas = open_door("--allow-private-callbacks")
    file = nas.home / "keys.json"

    def signer() -> str:
        assert nas.arm("one", "job", instant(), agent.url).status == 200
        token = agent.fire(60).token
        key = nas.keys()[jwt.get_unverified_header(token)["kid"]]
        jwt.decode(token, jwt.PyJWK(key).key, algorithms=[key["alg"]], audience="one", issuer=nas.system.nas_url)
        return str(key["kid"])

    [first] = nas.keys()
    assert signer() == first
    nas.command("keys", "rotate", "--overlap", "1h")
    assert file.stat().st_mode & 0o777 == 0o600
    [_, second] = nas.keys()
    assert signer() == first, "the next key is published for an hour before it signs"
    nas.command("keys", "rotate", "--overlap", "0", "--keep", "0", "--alg", "EdDSA")
    [third] = nas.keys()
    assert third not in (first, second)
    assert signer() == third, "the answer to a stolen key is at once"
    assert file.stat().st_mode & 0o777 == 0o600
    assert all(set(key) <= {"alg", "crv", "e", "kid", "kty", "n", "use", "x", "y"} for key in nas.keys().values())
    # Once others may read it, nothing is signed with it; what is due waits.
    file.chmod(0o640)
    assert nas.arm("one", "waits", instant(), agent.url).status == 200
    nas.system.wait(lambda: "Others than this user may read" in nas.system.log("nas"), "the refusal to sign")
    for path in ("/healthz", contract.JWKS_PATH):
        assert nas.system.outbound.request("GET", nas.system.nas_url + path, deadline=20).status == 503
    assert agent.fires.empty()
    file.chmod(0o600)
    assert agent.fire(60).body["job_id"] == "waits"


@pytest.mark.parametrize("harm", ["readable", "writable folder"])
def test_it_does_not_start_with_keys_or_a_secret_that_others_can_reach(nas: Door, harm: str) -> None:
    nas.process.terminate()
    assert nas.process.wait(20) == 0
    path, mode = {"readable": (nas.home / "keys.json", 0o644), "writable folder": (nas.home, 0o770)}[harm]
    path.chmod(mode)
    done = nas.system.cli("nas", "serve", "--home", str(nas.home), "--bind", "127.0.0.1:0", "--public-url", "http://x")
    assert done.returncode not in (0, 1, 2)
    assert str(path) in done.stderr
    path.chmod(0o700)
    relay = nas.system.home / "relay"
    relay.chmod(0o644)
    done = nas.system.cli("nas", "serve", "--home", str(nas.home / "other"), "--bind", "127.0.0.1:0", "--public-url",
                          "http://x", "--relay-secret-file", str(relay))  # fmt: skip
    assert done.returncode == 78
    assert str(relay) in done.stderr
    assert relay.read_text() not in done.stderr
