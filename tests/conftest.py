"""What every test session does: knows which services a test uses, and ends by saying what was skipped, and why.

With HERMES_CRON_TEST_REPORT, a path, it also writes there how many tests of each service passed, failed and were
skipped, as JSON: by that `.ci/run` knows that a server the machine has was really used.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SERVICES = {"redis": "redis", "postgresql": "postgres", "amqp": "rabbitmq"}
"""The parameter of a conformance test, and the mark of the service it stands for."""

# A loaded machine is slow at times: only pytest's own timeout bounds a test.
UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("here", **UNTIMED)
settings.register_profile("ci", **UNTIMED, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

_outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
_reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a service by their parameter."""
    for item in items:
        chosen = (
            item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
        )
        for parameter in chosen:
            if isinstance(parameter, str) and parameter in SERVICES:
                item.add_marker(SERVICES[parameter])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count what became of the tests of each service, and why tests were skipped."""
    if report.skipped and isinstance(report.longrepr, tuple) and not hasattr(report, "wasxfail"):
        group, colon, reason = report.longrepr[2].removeprefix("Skipped: ").partition(": ")
        _reasons[group if colon else "other"][reason or group] += 1
    if report.when == "call" or report.outcome != "passed":
        for service in SERVICES.values():
            if service in report.keywords:
                _outcomes[service][report.outcome] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each group of skipped tests."""
    for group, reasons in sorted(_reasons.items()):
        count = reasons.total()
        why = "; ".join(sorted(reasons))
        terminalreporter.write_line(f"skipped: {group} ({count} test{'s' * (count != 1)}): {why}", yellow=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report that was asked for."""
    if hasattr(session.config, "workerinput"):
        # One of pytest-xdist's processes: the one that started them hears of every test.
        return
    if path := os.environ.get("HERMES_CRON_TEST_REPORT"):
        found = {service: dict(_outcomes[service]) for service in SERVICES.values()}
        Path(path).write_text(json.dumps(found, indent=2) + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write out lone surrogates in what was captured: pytest-xdist cannot carry them from process to process."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
