"""`.ci/audit`: what it makes of what the database of advisories says, or does not say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
CLEAN = {"name": "click", "version": "8.5.1", "vulns": []}
WEAK = {"name": "jinja2", "version": "3.1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1.6"]}]}
UNKNOWN = {"name": "redis", "version": "8.1.0", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "code", "words"),
    [
        ([CLEAN, CLEAN], 0, "2 packages looked up, 0 with a known weakness"),
        ([CLEAN, WEAK], 1, "jinja2 3.1.0: PYSEC-1, fixed in 3.1.6"),
        ([CLEAN, UNKNOWN], 0, "redis could not be looked up"),
        ([UNKNOWN], 0, "skipped: audit: requirements.lock: no database of advisories answers"),
        (None, 0, "skipped: audit: requirements.lock: no database of advisories answers"),
    ],
)
def test_it_fails_for_a_known_weakness_and_says_when_it_could_not_look(
    tmp_path: Path, dependencies: list[Any] | None, code: int, words: str
) -> None:
    tools = tmp_path / ".tox" / "audit-tools" / "bin"
    tools.mkdir(parents=True)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "audit", tmp_path / ".ci" / "audit")
    (tools / "python").symlink_to(sys.executable)
    (tmp_path / "report").write_text("" if dependencies is None else json.dumps({"dependencies": dependencies}))
    (tools / "pip-audit").write_text(f"#!/bin/sh\ncat {tmp_path}/report\nexit 1\n")
    (tools / "pip-audit").chmod(0o755)
    done = subprocess.run([tmp_path / ".ci" / "audit"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code, done.stderr
    assert words in done.stdout
