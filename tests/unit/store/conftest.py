"""Makes the mark of tests that need a PostgreSQL server known."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "postgres: needs a PostgreSQL server (HERMES_CRON_TEST_POSTGRES)")
