"""The two halves of the web application: a process that is woken for one fire pays for one of them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

from hermes_cron.webapp import WebApp

SCRIPT = """
import json, sys
import falcon.testing
import hermes_cron.bootstrap
from hermes_cron.verify import refuse_all
from hermes_cron.webapp import Desk, make_webapp

class Queue:
    def depth(self): return 0
    def set_aside(self): return 0

def nobody(*given): raise AssertionError("a fire needs neither jobs nor a store")

web = falcon.testing.TestClient(make_webapp(refuse_all, Queue(), nobody, Desk(nobody)))
late = ("jinja2", "prometheus_client", "hermes_cron.office", "hermes_cron.api.forms", "hermes_cron.dashboard")
for path in ("/healthz", "/readyz", "/api/cron/fire"):
    web.simulate_post(path, body="{}")
before = [name for name in late if name in sys.modules]
web.simulate_get("/", remote_addr="203.0.113.9")
print(json.dumps([before, [name for name in late if name in sys.modules]]))
"""


def test_neither_api_nor_dashboard_is_loaded_before_somebody_asks_for_them() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True)
    before, after = json.loads(done.stdout)
    assert before == []
    assert "hermes_cron.office" in after


def test_the_office_is_opened_once_however_many_come_at_once() -> None:
    from hermes_cron.webapp import _once

    made: list[int] = []
    gate = threading.Barrier(8)
    kept = _once(lambda: made.append(1) or object())
    found: list[object] = []

    def come() -> None:
        gate.wait()
        found.append(kept())

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(set(map(id, found))) == 1


def test_what_is_not_quick_goes_to_the_office() -> None:
    asked: list[str] = []
    half = {name: lambda environ, start, name=name: asked.append(name) or [] for name in ("front", "office")}
    web = WebApp(half["front"], ["/api/cron/fire"], lambda: half["office"])  # type: ignore[arg-type]  # all it needs.
    for path in ("/api/cron/fire", "/api/cron/fire/", "/API/cron/fire", "//api/cron/fire", "/", ""):
        web({"PATH_INFO": path}, lambda *given: None)
    assert asked == ["front", *["office"] * 5]
