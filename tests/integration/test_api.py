"""API and dashboard over real sockets, as shipped: gunicorn with our settings, two processes; and one that serves."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hermes_cron.apikeys import add_key
from hermes_cron.worker import SWEEP_S
from tests.integration.system import System

pytestmark = pytest.mark.processes
Make = Callable[..., System]
JOB = {"id": "tide", "schedule": "every 1h", "task": "mark"}


class Answer:
    def __init__(self, status: int, headers: Mapping[str, str], text: str) -> None:
        self.status, self.headers, self.text = status, headers, text

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(system: System, method: str, path: str, body: object = None, **headers: str) -> Answer:
    """One request; a header's name is written with _ for -."""
    host = urlsplit(system.callback_url).netloc
    connection = http.client.HTTPConnection(host, timeout=20)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        sent.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, path, body=data, headers=sent)
        found = connection.getresponse()
        return Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read().decode())
    finally:
        connection.close()


def ready(system: System) -> System:
    system.wait(lambda: system.answers(f"{system.callback_url}/healthz"), "the web answers")
    return system


@pytest.fixture
def serving(make_system: Make) -> System:
    """Web and worker of one process, with the built-in ticker and no keys."""
    system = make_system("memory://", provider="")
    system.start_serve()
    return ready(system)


@pytest.fixture
def keyed(make_system: Make, redis_url: str, tmp_path: Path) -> System:
    """Two web processes with keys, and neither NAS nor a worker."""
    file = tmp_path / "api-keys"
    system = make_system(redis_url, env={"HERMES_CRON_WEB__API_KEYS_FILE": str(file)})
    system.keys = {"read": add_key(file, "looker", ["read"]), "write": add_key(file, "operator", ["write"])}  # type: ignore[attr-defined]  # for these tests only.
    system.token_file.write_text("nobody asks for it")
    system.start_web()
    return ready(system)


def key(system: System, scope: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {system.keys[scope]}"}  # type: ignore[attr-defined]  # as set above.


@pytest.mark.redis
def test_every_route_of_the_document_wants_a_key_with_its_scope(keyed: System) -> None:
    document = ask(keyed, "GET", "/openapi.json", **key(keyed, "read")).json
    routes = [(method.upper(), path.replace("{job_id}", "x").replace("{run_id}", "x"), told["x-scope"])
              for path, methods in document["paths"].items() for method, told in methods.items()]  # fmt: skip
    assert len(routes) >= 17
    for method, path, scope in [*routes, ("GET", "/", "read"), ("GET", "/nothing", "read"), ("PUT", "/", "write")]:
        said = {who: ask(keyed, method, path, **headers).status for who, headers in (
            ("nobody", {}), ("stranger", {"Authorization": "Bearer hck_x"}), ("read", key(keyed, "read")),
            ("write", key(keyed, "write")),
        )}  # fmt: skip
        assert (said["nobody"], said["stranger"]) == (401, 401), (method, path)
        assert said["write"] not in (401, 403), (method, path)
        assert said["read"] == (403 if scope == "write" else said["write"]), (method, path)


@pytest.mark.redis
def test_i11_a_create_while_nas_is_away_is_201_and_wanted_and_made_once_by_two_processes(keyed: System) -> None:
    answers = [ask(keyed, "POST", "/api/cron/jobs", JOB, Idempotency_Key="k", **key(keyed, "write")) for _ in range(6)]
    assert {answer.status for answer in answers} == {201}
    assert {answer.json["arm"] for answer in answers} == {"wanted"}
    assert ask(keyed, "POST", "/api/cron/jobs", JOB, **key(keyed, "write")).status == 409
    changes = [
        ask(keyed, "PATCH", "/api/cron/jobs/tide", {"args": {}}, If_Match='"1"', **key(keyed, "write"))
        for _ in range(4)
    ]
    assert sorted(change.status for change in changes) == [200, 412, 412, 412]


def test_no_name_that_was_pointed_here_and_no_other_page_gets_in(serving: System) -> None:
    for path in ("/", "/jobs", "/api/cron/jobs", "/openapi.json", "/nothing"):
        assert ask(serving, "GET", path, Host="evil.example").status == 421
        assert ask(serving, "GET", path, Host="localhost", X_Forwarded_For="203.0.113.9").status == 403
    own = serving.callback_url
    forged: list[dict[str, str]] = [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"},
        {"Origin": own, "Sec_Fetch_Site": "same-site"}, {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"}, {"Origin": own.replace("http", "https", 1) + "1"},
    ]  # fmt: skip
    for headers in forged:
        assert ask(serving, "POST", "/api/cron/jobs", JOB, **headers).status in (403, 415), headers
    assert ask(serving, "GET", "/api/cron/jobs").json["items"] == []
    good = {"Origin": own, "Sec_Fetch_Site": "same-origin"}
    assert ask(serving, "POST", "/api/cron/jobs", JOB, **good).status == 201


def test_a_run_asked_for_by_the_api_runs_at_once_where_the_worker_is_the_same_process(serving: System) -> None:
    assert ask(serving, "POST", "/api/cron/jobs", JOB).status == 201
    assert ask(serving, "POST", "/api/cron/jobs/tide/run").status == 202
    serving.wait(lambda: serving.ran("tide"), "the run", SWEEP_S - 1)
    fires = serving.wait(
        lambda: ask(serving, "GET", "/api/cron/runs?state=succeeded&job=tide").json["items"], "its outcome"
    )
    shown = ask(serving, "GET", f"/runs/{fires[0]['runs'][0]['id']}", Accept="text/html")
    assert (shown.status, "done" in shown.text) == (200, True)
    assert ask(serving, "DELETE", "/api/cron/jobs/tide").json["removed"]


@pytest.mark.timeout(240)
def test_nothing_that_the_document_allows_or_forbids_breaks_it(make_system: Make, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="openapi: schemathesis is not installed")
    file = tmp_path / "api-keys"
    system = make_system("memory://", provider="", env={"HERMES_CRON_WEB__API_KEYS_FILE": str(file)})
    bearer = f"Bearer {add_key(file, 'tester', ['write'])}"
    system.start_serve()
    assert ask(ready(system), "POST", "/api/cron/jobs", JOB, Authorization=bearer).status == 201
    config = tmp_path / "schemathesis.toml"
    # That a string may be of any length is no promise that it is an id, a schedule or a task; and gunicorn itself
    # answers 414 to a URL of more than 2 KiB.
    config.write_text("""
[checks]
positive_data_acceptance.enabled = false
negative_data_rejection.expected-statuses = [400, 401, 404, 405, 409, 412, 413, 414, 415, 422]
""")
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", "--no-color", "--seed", "1",
        "--header", f"Authorization: {bearer}", "--phases", "coverage,fuzzing", "--max-examples", "10", "--max-time",
        "20", "--continue-on-failure", "--warnings", "off", f"{system.callback_url}/openapi.json",
    ]  # fmt: skip
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Traceback" not in system.logs()


@pytest.mark.timeout(240)
def test_a_page_in_a_browser_breaks_no_rule_and_stops_asking_when_nobody_moves(serving: System, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("browser: no Chromium is installed")
    ask(serving, "POST", "/api/cron/jobs", JOB)
    said = tmp_path / "chromium.log"
    with said.open("wb") as log:
        # Ten minutes pass in the page in a few seconds.
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--enable-logging=stderr", f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=600000",
             "--dump-dom", f"{serving.callback_url}/jobs/tide"],
            check=False, stdout=subprocess.PIPE, stderr=log, timeout=90,
        )  # fmt: skip
    shown = done.stdout.decode()
    assert "Run now" in shown
    assert "resting: move or press a key" in shown
    assert "CONSOLE" not in said.read_text(errors="replace")
