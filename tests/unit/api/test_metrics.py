"""`/metrics`: the load, the answers to fires, why tokens were refused, and how soon all this was said."""

from __future__ import annotations

import math
import os
from datetime import timedelta

import pytest

from hermes_cron.errors import BrokerError, TokenRejected
from hermes_cron.webapp import make_webapp
from tests.unit.api.conftest import Api

parser = pytest.importorskip("prometheus_client.parser")


def read(api: Api) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = api.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = parser.text_string_to_metric_families(answer.text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families for sample in family.samples
    }  # fmt: skip


def test_it_tells_the_load_as_the_load_does(api: Api) -> None:
    api.add()
    numbers = read(api)
    told = api.good("GET", "/api/cron/load")
    assert numbers["hermes_cron_load", ()] == told.pop("load") == 1
    assert told.pop("refused") == []
    for part, number in told.items():
        assert numbers["hermes_cron_load_part", (("part", part),)] == number


def test_it_tells_what_is_late_and_what_the_queue_has_set_aside(api: Api) -> None:
    api.broker.refused = 3
    api.add()
    numbers = read(api)
    assert numbers["hermes_cron_messages_set_aside", ()] == 3
    assert numbers["hermes_cron_late_seconds", ()] == 0
    wake = api.store.next_wake()
    assert wake is not None
    api.clock.now = wake + timedelta(seconds=90)
    assert read(api)["hermes_cron_late_seconds", ()] == 90


def test_what_cannot_be_read_is_not_zero(api: Api) -> None:
    api.broker.fault = BrokerError("away")
    numbers = read(api)
    assert math.isnan(numbers["hermes_cron_messages_set_aside", ()])
    assert numbers["hermes_cron_load", ()] == 1
    queued = numbers["hermes_cron_load_part", (("part", "queued"),)]
    assert math.isnan(queued)


class Moody:
    """Refuses in turn, for these reasons; then lets in."""

    def __init__(self) -> None:
        self.reasons = ["expired", "expired", "audience"]

    def __call__(self, token: str, body: bytes) -> dict[str, str]:
        if self.reasons:
            raise TokenRejected(self.reasons.pop())
        return {}

    def ready(self) -> bool:
        return True


def test_it_counts_answers_and_reasons_of_this_process(api: Api) -> None:
    api.http.app = make_webapp(Moody(), api.broker, lambda: api.store)
    body = {"job_id": "a", "fire_at": "2026-07-01T12:00:00+00:00"}
    for _ in range(5):
        api.ask("POST", "/api/cron/fire", body, headers={"Authorization": "Bearer x"})
    numbers, process = read(api), ("process", str(os.getpid()))
    told = api.ask("GET", "/metrics", peer="203.0.113.9").text
    assert "expired" not in told
    assert "audience" not in told
    assert 'reason="untold"} 3.0' in told
    assert numbers["hermes_cron_fire_answers_total", (process, ("status", "202"))] == 2
    assert numbers["hermes_cron_fire_answers_total", (process, ("status", "401"))] == 3
    assert numbers["hermes_cron_token_refusals_total", (process, ("reason", "expired"))] == 2
    assert numbers["hermes_cron_token_refusals_total", (process, ("reason", "audience"))] == 1
    assert numbers["hermes_cron_fire_seconds_count", (process,)] == 5
    assert numbers["hermes_cron_fire_seconds_bucket", (("le", "+Inf"), process)] == 5
