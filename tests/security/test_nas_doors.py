"""NAS as it is shipped: an agent is held to its own, and the relay to its own moment."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_cron import contract
from hermes_cron.outbound import Answer
from tests.integration.system import System

pytestmark = [pytest.mark.processes, pytest.mark.timeout(60)]
FAR = "2099-01-01T00:00:00+00:00"


@pytest.fixture
def nas(make_system: Callable[..., System], tmp_path: Path) -> System:
    """A NAS with a relay secret, and agents `one` and `two`."""
    system = make_system("memory://")
    secret = tmp_path / "relay"
    secret.touch(0o600)
    secret.write_text("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    fd, home = system.nas_socket.fileno(), ("--home", str(system.home / "nas"))
    flags = ("--public-url", system.nas_url, "--relay-secret-file", str(secret))
    system.start("nas", "nas", "serve", *home, "--bind", f"fd://{fd}", *flags, fds=(fd,))
    system.wait(lambda: system.answers(system.nas_url + "/healthz"), "NAS answers")
    for name in ("one", "two"):
        file = str(tmp_path / name)
        assert system.cli("nas", "agents", "add", name, *home, "--audience", name, "--token-file", file).returncode == 0
    return system


def ask(system: System, name: str, method: str, path: str, **body: str) -> Answer:
    """A call of an agent, or of whoever has this token."""
    file = system.home / name
    token = file.read_text().strip() if file.exists() else name
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    raw = json.dumps(body).encode() if method == "POST" else None
    return system.outbound.request(method, system.nas_url + path, headers=headers, body=raw, deadline=5)


def armed(system: System, name: str) -> list[str]:
    return [row["job_id"] for row in json.loads(ask(system, name, "GET", contract.LIST_PATH).body)["armed"]]


def test_an_agent_sees_and_touches_only_its_own(nas: System) -> None:
    arm = {"job_id": "tide", "fire_at": FAR, "agent_callback_url": "https://nobody.invalid", "dedup_key": f"tide:{FAR}"}
    assert ask(nas, "one", "POST", contract.PROVISION_PATH, **arm).status == 200
    assert armed(nas, "two") == []
    assert ask(nas, "two", "POST", contract.CANCEL_PATH, job_id="tide").status == 200
    assert armed(nas, "one") == ["tide"]
    assert ask(nas, "two", "POST", contract.PROVISION_PATH, **arm).status == 200
    assert ask(nas, "two", "POST", contract.CANCEL_PATH, job_id="tide").status == 200
    assert armed(nas, "one") == ["tide"]


def test_whoever_is_no_agent_is_told_nothing_more(nas: System) -> None:
    assert nas.cli("nas", "agents", "revoke", "two", "--home", str(nas.home / "nas")).returncode == 0
    calls = [("POST", contract.PROVISION_PATH), ("POST", contract.CANCEL_PATH), ("GET", contract.LIST_PATH),
             ("POST", contract.BATCH_PATH), ("GET", "/api/agent-cron/capabilities")]  # fmt: skip
    answers = {(ask(nas, "hcn_forged", *call).status, ask(nas, "hcn_forged", *call).body) for call in calls}
    assert len(answers) == 1
    assert answers.pop()[0] == 401
    assert {ask(nas, "two", *call).status for call in calls} == {403}
    assert b"hcn_" not in (nas.home / "nas" / "nas.db").read_bytes()


def relay(system: System, *, late: float = 0, call: str = "call", secret: str = "", body: bytes = b"") -> int:
    stamp = str(int(time.time() - late))
    key = base64.b64decode((secret or (system.home / "relay").read_text()).removeprefix("whsec_"))
    raw = b'{"schedule_id": "none"}'
    signature = base64.b64encode(hmac.digest(key, f"{call}.{stamp}.".encode() + raw, "sha256")).decode()
    headers = {"Webhook-Id": call, "Webhook-Timestamp": stamp, "Webhook-Signature": f"v1,{signature}"}
    url = system.nas_url + contract.RELAY_PATH
    return system.outbound.request("POST", url, headers=headers, body=body or raw, deadline=5).status


def test_the_relay_takes_a_call_in_its_moment_and_no_other(nas: System) -> None:
    assert relay(nas) == 200
    assert relay(nas, call="again", late=240) == 200
    assert relay(nas, call="old", late=310) == 401
    assert relay(nas, call="early", late=-310) == 401
    assert relay(nas, call="forged", secret=base64.b64encode(b"x" * 32).decode()) == 401
    assert relay(nas, call="changed", body=b'{"schedule_id": "other"}') == 401
    assert nas.outbound.request("POST", nas.nas_url + contract.RELAY_PATH, body=b"{}", deadline=5).status == 401
