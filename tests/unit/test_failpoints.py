"""Failpoints: off unless set; every name stands at exactly one place of the package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import hermes_cron
from hermes_cron.errors import ConfigError
from hermes_cron.failpoints import NAMES, VARIABLE, Planted, failpoint, read_plans

PACKAGE = Path(hermes_cron.__file__).parent


def run(plans: str, passes: int) -> subprocess.CompletedProcess[str]:
    """A process that passes one place so many times."""
    script = (
        "from hermes_cron.failpoints import failpoint\n"
        f"for n in range({passes}): failpoint('firing.claimed'); print(n, flush=True)"
    )
    return subprocess.run(
        [sys.executable, "-c", script], env={VARIABLE: plans}, capture_output=True, text=True, timeout=90, check=False
    )


def test_nothing_happens_unless_it_is_asked_for() -> None:
    for name in NAMES:
        failpoint(name)


def test_it_kills_at_the_asked_for_passing() -> None:
    done = run("firing.claimed:kill:3", 5)
    assert (done.returncode, done.stdout.split()) == (-9, ["0", "1"])


def test_it_raises_what_nothing_is_prepared_for() -> None:
    done = run("firing.claimed:raise", 2)
    assert (done.stdout, Planted.__name__ in done.stderr) == ("", True)
    assert not issubclass(Planted, hermes_cron.HermesCronError)


def test_it_acts_at_each_passing_where_a_star_says_so() -> None:
    assert run("firing.claimed:sleep=0.01:*,firing.acked:kill", 3).stdout.split() == ["0", "1", "2"]


def test_a_name_or_action_that_is_none_ends_the_process_with_one_sentence() -> None:
    done = run("firing.nowhere:kill", 1)
    assert done.returncode != 0
    assert "[config_invalid]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "text",
    ["x", "firing.claimed", "firing.claimed:burn", "firing.claimed:kill:x", "a:kill", "firing.claimed:sleep",
     "firing.claimed:sleep=", "firing.claimed:sleep=long", "firing.claimed:sleep=-1"],
)  # fmt: skip
def test_it_refuses_what_it_cannot_read(text: str) -> None:
    with pytest.raises(ConfigError, match="NAME:ACTION"):
        read_plans(text)


def test_every_name_stands_in_the_code_and_no_other() -> None:
    calls = [
        name for path in PACKAGE.rglob("*.py") for name in re.findall(r'failpoint\("([a-z_.]+)"\)', path.read_text())
    ]
    assert set(calls) == set(NAMES)
