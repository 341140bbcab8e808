"""A cold start is short by what it leaves alone: what commands do not load. `python -m bench.cold` measures it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_cron import schedule
from hermes_cron.job import Job
from hermes_cron.policy import Policy
from hermes_cron.schedule import Schedule

CODE = """
import json, sys
from hermes_cron.__main__ import main
try:
    main()
finally:
    sys.stderr.write(json.dumps(sorted(sys.modules)))
"""
LIBRARIES = {"cryptography", "falcon", "gunicorn", "httpcore", "httpx", "jinja2", "jwt", "kombu", "prometheus_client"}
WIRING = {"hermes_cron.bootstrap", "hermes_cron.firing", "hermes_cron.loading", "hermes_cron.worker", "sqlalchemy"}


@pytest.mark.parametrize(
    ("arguments", "left_alone"),
    [
        (["--help"], LIBRARIES | WIRING), (["--version"], LIBRARIES | WIRING),
        (["jobs", "list"], LIBRARIES | {"psycopg", "redis"}), (["jobs", "--help"], LIBRARIES | {"sqlalchemy"}),
    ],
)  # fmt: skip
def test_it_loads_nothing_that_it_has_no_need_of(tmp_path: Path, arguments: list[str], left_alone: set[str]) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HERMES_CRON_")}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], env={**kept, "HERMES_CRON_HOME": str(tmp_path)}, timeout=100,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert left_alone & set(json.loads(done.stderr)) == set()


def test_a_job_that_is_read_is_not_asked_for_its_period() -> None:
    daily = Schedule("cron", "59 23 29 2 *")
    before = schedule._shortest.cache_info().misses
    Job("tide", "any", daily)
    assert schedule._shortest.cache_info().misses == before
    Job("tide", "any", daily, policy=Policy(jitter=5))
    assert schedule._shortest.cache_info().misses == before + 1
