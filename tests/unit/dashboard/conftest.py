"""The pages are served by the same application as the API."""

from tests.unit.api.conftest import make_api  # noqa: F401 - a fixture.
