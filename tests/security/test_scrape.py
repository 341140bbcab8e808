"""`/metrics` of the shipped web as a scraper sees it: counters of each process, gauges of all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hermes_cron.outbound import Answer, Outbound
from tests.security.front import Front
from tests.security.test_key_server import one_at_a_time
from tests.security.test_queue import forged, put

pytestmark = [pytest.mark.processes, pytest.mark.redis, pytest.mark.timeout(240)]
FAMILIES = {
    "hermes_cron_load": "gauge", "hermes_cron_load_part": "gauge", "hermes_cron_late_seconds": "gauge",
    "hermes_cron_messages_set_aside": "gauge", "hermes_cron_fire_answers": "counter",
    "hermes_cron_token_refusals": "counter", "hermes_cron_message_refusals": "counter",
    "hermes_cron_fire_seconds": "histogram",
}  # fmt: skip


@pytest.fixture
def front(tmp_path: Path, redis_url: str) -> Iterator[Front]:
    """The web, and no trigger but the built-in one of a worker."""
    new = Front(tmp_path, redis_url, HERMES_CRON_CRON__PROVIDER="")
    try:
        new.start()
        yield new
    finally:
        new.close()


def ask(front: Front, **headers: str) -> Answer:
    """One scrape, on a connection of its own: one that was kept leads to one and the same process."""
    outbound = Outbound()
    try:
        return outbound.request(
            "GET", f"{front.system.callback_url}/metrics", deadline=20,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )  # fmt: skip
    finally:
        outbound.close()


def gauge(front: Front, name: str) -> float:
    families = text_string_to_metric_families(ask(front).body.decode())
    return next(family.samples[0].value for family in families if family.name == f"hermes_cron_{name}")


def counted(answer: Answer, name: str) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(answer.body.decode())
    return {
        tuple(sample.labels.values()): sample.value
        for family in families if family.name == f"hermes_cron_{name}"
        for sample in family.samples if sample.name.endswith("_total")
    }  # fmt: skip


def test_each_process_counts_its_own_answers_and_reasons_and_tells_the_reasons_to_no_stranger(front: Front) -> None:
    forged = [front.token(exp=1, iat=0, nbf=0)] * 2 + [front.token(aud="other"), "x"]
    processes = set()
    with one_at_a_time(front) as both:
        for number, _ in enumerate(both, 1):
            for token in forged * number:
                front.ask(front.request(token=token))
            front.ask(front.request())
            answer, strange = ask(front), ask(front, X_Forwarded_For="203.0.113.9")
            answers, reasons = counted(answer, "fire_answers"), counted(answer, "token_refusals")
            [process] = {label for label, _ in answers}
            processes.add(process)
            assert answers == {(process, "202"): 1, (process, "401"): 4 * number}
            assert reasons == {
                (process, "expired"): 2 * number, (process, "audience"): number, (process, "form"): number,
            }  # fmt: skip
            assert counted(strange, "token_refusals") == {(process, "untold"): 4 * number}
            assert not any(code in strange.body for code in (b"expired", b"audience", b"form"))
    assert len(processes) == 2
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert {f.name: f.type for f in text_string_to_metric_families(answer.body.decode())} == FAMILIES


def test_what_is_late_and_what_was_refused_from_the_queue_any_process_tells(front: Front) -> None:
    assert (gauge(front, "late_seconds"), gauge(front, "messages_set_aside")) == (0, 0)
    front.system.add("tide", "in 1s")
    # No worker is there to claim it.
    front.system.wait(lambda: gauge(front, "late_seconds") > 0, "it to be late")
    for body in (b"junk", b'{"v": 2}', b"[]"):
        put(front.system, body)
    front.system.start_worker()
    with one_at_a_time(front) as both:
        for _ in both:
            front.system.wait(lambda: gauge(front, "messages_set_aside") == 3, "the junk to be set aside")
            front.system.wait(lambda: gauge(front, "late_seconds") == 0, "nothing to be late any more")
    assert front.system.ran("tide")


def test_a_process_that_also_works_counts_what_it_refused_from_the_queue_by_reason(
    tmp_path: Path, redis_url: str
) -> None:
    front = Front(tmp_path, redis_url, HERMES_CRON_CRON__PROVIDER="")
    try:
        front.system.start_serve()
        front.system.wait(lambda: front.system.answers(f"{front.system.callback_url}/readyz"), "it serves")
        for body in (b"junk", forged("../x")):
            put(front.system, body)
        front.system.wait(lambda: sum(counted(ask(front), "message_refusals").values()) == 2, "both to be counted")
        assert {reason for _, reason in counted(ask(front), "message_refusals")} == {"shape", "job_id"}
        assert gauge(front, "messages_set_aside") == 2
    finally:
        front.close()
