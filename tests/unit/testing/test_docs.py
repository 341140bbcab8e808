"""What the page and the docstrings show of `hermes_cron.testing` is run; what may surprise its users is looked for."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_cron import testing

ROOT = Path(__file__).parents[3]
WARNINGS = "error::pytest.PytestWarning"
"""Those that pytest has to give, such as of a class that it cannot collect; other libraries' are theirs."""

PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with the package of this project."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def blocks() -> list[str]:
    """The page's examples, but for those that are said not to be run."""
    return re.findall(r"(?<!-->\n)```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_of_the_page_are_tests_that_pass_without_a_warning(tmp_path: Path) -> None:
    text = "\n\n".join(blocks())
    (tmp_path / "test_shop.py").write_text(text, encoding="utf-8")
    done = run("-m", "pytest", "-q", "-W", WARNINGS, "-p", "no:cacheprovider", "--rootdir", ".", folder=tmp_path)
    passed = text.count("\ndef test_") - 1 + len(testing.BAD_TOKENS)
    assert f"{passed} passed" in done.stdout, done.stdout + done.stderr
    assert len(blocks()) >= 8


def test_every_link_of_the_page_leads_to_a_file_that_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", PAGE) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


@pytest.mark.parametrize("module", ["hermes_cron.testing", "hermes_cron.testing.nas", "hermes_cron.testing.tokens"])
def test_the_examples_of_the_docstrings_say_what_they_show(module: str) -> None:
    done = doctest.testmod(importlib.import_module(module))
    assert done.attempted
    assert not done.failed


def test_it_needs_no_test_framework_and_brings_none(tmp_path: Path) -> None:
    script = "import sys, hermes_cron.testing; print(sorted({'pytest', '_pytest', 'unittest'} & set(sys.modules)))"
    assert run("-c", script, folder=tmp_path).stdout.strip() == "[]"


def test_nothing_of_it_is_taken_for_a_test_where_it_is_imported(tmp_path: Path) -> None:
    names = ", ".join(testing.__all__)
    (tmp_path / "test_nothing.py").write_text(f"from hermes_cron.testing import {names}\nfrom hermes_cron import *\n")
    done = run("-m", "pytest", "-q", "-W", WARNINGS, "-p", "no:cacheprovider", "--rootdir", ".", folder=tmp_path)
    assert "no tests ran" in done.stdout, done.stdout + done.stderr
