"""Every secret that was planted is looked for in all that the processes said, at the level at which they say most."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from hermes_cron import contract
from hermes_cron.clock import utc_now
from hermes_cron.store import open_store
from hermes_cron.verify.cron_key import job_key, sign_cron_key
from tests.integration.system import System
from tests.security.test_queue import redis_server

pytestmark = [pytest.mark.processes, pytest.mark.redis, pytest.mark.timeout(240)]
Make = Callable[..., System]
TOKEN_LIKE = re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{20,}")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass
class Planted:
    """Secrets by name, and all that was said anywhere."""

    secrets: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def plant(self, name: str, prefix: str = "") -> str:
        self.secrets[name] = prefix + secrets.token_hex(20)
        return self.secrets[name]

    def file(self, folder: Path, name: str, prefix: str = "") -> str:
        path = folder / name
        path.touch(0o600)
        path.write_text(self.plant(name, prefix))
        return str(path)

    def found(self, text: str) -> list[str]:
        """Names of the secrets in a text, as they are or as they look in a URL or in base64."""
        return sorted(
            name
            for name, secret in self.secrets.items()
            for form in (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("="))
            if form in text
        )


@contextmanager
def echoing() -> Iterator[str]:
    """An API that refuses its callers, and repeats what they sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = str(self.headers).encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(said)))
            self.send_header("X-Said", str(self.headers.get("Authorization")))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def relay(system: System, secret: str, good: bool) -> int:
    """A call as an outside scheduler signs it, or as somebody forges it."""
    body, stamp = b'{"schedule_id": "none"}', str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = base64.b64encode(hmac.digest(key if good else b"x", f"m.{stamp}.".encode() + body, "sha256")).decode()
    headers = {"Webhook-Id": "m", "Webhook-Timestamp": stamp, "Webhook-Signature": f"v1,{digest}"}
    answer = system.outbound.request(
        "POST", system.nas_url + contract.RELAY_PATH, headers=headers, body=body, deadline=5
    )
    return answer.status


def start_all(system: System, planted: Planted, folder: Path) -> None:
    """NAS with a relay secret, an agent, web and worker."""
    relay_file = folder / "relay"
    relay_file.touch(0o600)
    planted.secrets["relay"] = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    relay_file.write_text(planted.secrets["relay"])
    fd = system.nas_socket.fileno()
    flags = ("--public-url", system.nas_url, "--allow-private-callbacks", "--relay-secret-file", str(relay_file))
    home = str(system.home / "nas")
    system.start("nas", "nas", "serve", "--home", home, "--bind", f"fd://{fd}", *flags, fds=(fd,))
    system.wait(lambda: system.answers(system.nas_url + contract.JWKS_PATH), "NAS answers")
    agent = ("nas", "agents", "add", "it", "--home", home, "--audience", "agent:it")
    assert system.cli(*agent, "--token-file", str(system.token_file)).returncode == 0
    planted.secrets["access token"] = system.token_file.read_text().strip()
    key = system.cli("keys", "new", "ops", "--scope", "write").stdout.strip()
    planted.secrets["API key"] = key
    system.start_web()
    system.start_worker()
    system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")


def use_all(system: System, planted: Planted) -> None:
    """Use each secret rightly and wrongly."""
    system.add("tide", "every 1s")
    system.add("ask", "in 2s", "prompt", "--args", '{"prompt": "hello"}')
    system.wait(lambda: system.ran("tide"), "a run")
    body = system.body("tide", utc_now())
    for number, changes in enumerate(({}, {"aud": "other"}, {"exp": 1}, {"kid": "x"})):
        token = system.token(body, **changes)
        planted.secrets[f"signature {number}"] = token.rpartition(".")[2]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        system.outbound.request(
            "POST", system.callback_url + contract.FIRE_PATH, headers=headers, body=body, deadline=5
        )
    for key in (planted.secrets["API key"], planted.plant("a wrong API key", "hck_"), planted.secrets["access token"]):
        for path in ("/api/cron/jobs", f"/api/cron/jobs?token={key}", f"/api/cron/jobs/{key[:3]}"):
            headers = {"Authorization": f"Bearer {key}"}
            system.outbound.request("GET", system.callback_url + path, headers=headers, deadline=5)
    wrong = planted.plant("a wrong access token", "hcn_")
    for token in (planted.secrets["access token"], wrong):
        headers = {"Authorization": f"Bearer {token}"}
        system.outbound.request("GET", system.nas_url + contract.LIST_PATH, headers=headers, deadline=5)
    assert relay(system, planted.secrets["relay"], good=True) == 200
    assert relay(system, planted.secrets["relay"], good=False) == 401
    run = system.wait(lambda: [run for run in system.store.runs("ask") if not run.open], "the prompt's end")[0]
    assert "401" in str(run.error)
    planted.said.append(f"{run}")


COMMANDS = (
    ("config", "show"), ("config", "show", "--sources"), ("config", "show", "--json"), ("config", "check"),
    ("doctor",), ("doctor", "--network"), ("doctor", "--json"), ("jobs", "list", "--json"), ("runs", "list", "--json"),
    ("runs", "show", "nobody"), ("arms", "diff"), ("providers", "list"), ("web", "--print-command"), ("keys", "list"),
    ("nas", "agents", "list"), ("nas", "keys", "list"), ("--set", "broker.url=redis://:{broker}@h:x/0", "doctor"),
    ("--set", "store.url=postgresql://u:{store}@127.0.0.1:1/x", "jobs", "list"),
    ("--set", "store.url=redis://:{store}@127.0.0.1:1/0", "jobs", "list"),
    ("--set", "store.url=mysql://u:{store}@127.0.0.1:1/x", "jobs", "list"),
    ("--set", "broker.url=amqp://u:{broker}@127.0.0.1:1//", "doctor"),
    ("--set", "cron.chronos.portal_url=https://u:{access token}@nas.example", "config", "show"),
    ("--set", "cron.chronos.access_token={access token}", "config", "show", "--json"),
    ("--set", "cron.chronos.access_token_command=echo {access token}", "config", "show"),
    ("--set", "cron.chronos.nas_public_key={signing}", "web"),
)  # fmt: skip


def ask_commands(system: System, planted: Planted) -> None:
    """All that commands print, with a configuration that works and ones that do not."""
    for command in COMMANDS:
        filled = [word.format_map(planted.secrets) if "{" in word else word for word in command]
        done = system.cli("--log-level", "debug", *filled)
        planted.said.append(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}")


def test_no_secret_stands_in_what_the_processes_say_at_debug_level(make_system: Make, tmp_path: Path) -> None:
    planted = Planted()
    store, broker = planted.plant("store"), planted.plant("broker")
    folder = tmp_path / "secrets"
    folder.mkdir(0o700)
    acl = "~* resetchannels +@all"
    users = (f"user keeper on >{store} {acl}", f"user carrier on >{broker} {acl}")
    with redis_server(tmp_path, *users) as place, echoing() as api:
        env = {
            "HERMES_CRON_LOG_LEVEL": "debug", "HERMES_CRON_STORE__URL": f"redis://keeper:{store}@{place}/0",
            "HERMES_CRON_WEB__API_KEYS_FILE": str(folder / "api-keys"), "HERMES_CRON_TASKS__PROMPT__URL": api,
            "HERMES_CRON_TASKS__PROMPT__API_KEY_FILE": planted.file(folder, "prompt", "sk-"),
            "HERMES_CRON_BROKER__SIGNING_KEY_FILE": planted.file(folder, "signing"),
            "HERMES_CRON_CRON__KEY_FILE": planted.file(folder, "cron key"),
        }  # fmt: skip
        system = make_system(f"redis://carrier:{broker}@{place}/1", env=env)
        system._store = open_store(env["HERMES_CRON_STORE__URL"])
        start_all(system, planted, folder)
        use_all(system, planted)
        ask_commands(system, planted)
    # Their Redis is gone now: they say what they miss, and how.
    time.sleep(2)
    ask_commands(system, planted)
    for process in system.processes:
        process.terminate()
    for process in system.processes:
        process.wait(40)
    system.broker_url = "memory://"
    for log in sorted(system.home.glob("*.log")):
        planted.said.append(f"== {log.name}\n{log.read_text()}")
    assert len(planted.secrets) >= 14
    for text in planted.said:
        assert planted.found(text) == [], text[:200]
        assert TOKEN_LIKE.search(text) is None
        assert CONTROL.search(text) is None


def test_no_secret_of_the_cron_key_verifier_stands_in_the_logs(
    make_system: Make, redis_url: str, tmp_path: Path
) -> None:
    planted = Planted()
    key = planted.file(tmp_path, "cron-key")
    env = {"HERMES_CRON_LOG_LEVEL": "debug", "HERMES_CRON_CRON__VERIFIER": "cron-key",
           "HERMES_CRON_CRON__KEY_FILE": key}  # fmt: skip
    system = make_system(redis_url, env=env)
    system.start_web()
    system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")
    body = system.body("tide", utc_now())
    derived = job_key(planted.secrets["cron-key"].encode(), "tide")
    planted.secrets["the job's key"] = derived.hex()
    for signer, status in ((derived, 202), (hashlib.sha256(b"another").digest(), 401)):
        token = sign_cron_key(signer, body)
        planted.secrets[f"token {status}"] = token.rpartition(".")[2]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = system.outbound.request(
            "POST", system.callback_url + contract.FIRE_PATH, headers=headers, body=body, deadline=5
        )
        assert answer.status == status
        planted.said.append(json.dumps(dict(answer.headers)) + answer.body.decode())
    planted.said += [system.log("web0"), system.cli("config", "show").stdout]
    for text in planted.said:
        assert planted.found(text) == []
