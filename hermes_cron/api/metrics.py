"""`/metrics`: what an autoscaler and an alarm need, in the text format of Prometheus.

What the store and the queue know is read when it is asked for, and is the same whichever process answers. The counters
are those of the one process that answers, and say so by a label: a server of several is seen one process at a time.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import falcon

from hermes_cron.clock import monotonic
from hermes_cron.contract import FIRE_PATH
from hermes_cron.errors import TokenRejected
from hermes_cron.interfaces import FireVerifier

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Tally:
    """What happened at the fire endpoint of this process; Falcon middleware, and a verifier around the verifier."""

    def __init__(self, verifier: FireVerifier) -> None:
        self._verifier = verifier
        self._lock = threading.Lock()
        self.answers: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.seconds = 0.0

    def __call__(self, token: str, body: bytes) -> Mapping[str, Any]:
        """As the verifier says; why it refused is counted."""
        try:
            return self._verifier(token, body)
        except TokenRejected as error:
            with self._lock:
                self.refusals[error.reason] += 1
            raise

    def ready(self) -> bool:
        """As the verifier says."""
        return self._verifier.ready()

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Look at the clock."""
        req.context.began = monotonic()

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:  # fmt: skip
        """Count what was answered to a fire, and how soon."""
        if req.path != FIRE_PATH:
            return
        took = monotonic() - req.context.began
        place = next((number for number, bound in enumerate(_BOUNDS) if took <= bound), len(_BOUNDS))
        with self._lock:
            self.answers[str(falcon.http_status_to_code(resp.status))] += 1
            self.buckets[place] += 1
            self.seconds += took


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read at each scrape: the load, what is late, what the queue set aside, what we refused of it."""

    load: Callable[[], Mapping[str, int | None]]
    late: Callable[[], float | None]
    set_aside: Callable[[], int | None]
    refused: Mapping[str, int]


class Metrics:
    """`GET /metrics`: open to all; why tokens and messages were refused, only to those who `may_know`.

    Who forges a token must not learn here which of its faults was found; the answer at the door does not tell either.
    """

    path = "/metrics"

    def __init__(self, tally: Tally, gauges: Gauges, may_know: Callable[[falcon.Request], bool]) -> None:
        self._tally = tally
        self._gauges = gauges
        self._may_know = may_know

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200 with the numbers; what cannot be read is NaN."""
        # The library is loaded with the first question: wake-up time is a feature.
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest  # noqa: PLC0415 - as said above.
        from prometheus_client.registry import CollectorRegistry  # noqa: PLC0415 - as said above.

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(self._tally, self._gauges, reasons=self._may_know(req)))
        resp.content_type = CONTENT_TYPE_LATEST
        resp.set_header("Cache-Control", "no-store")
        resp.data = generate_latest(registry)


class _Families:
    """The numbers of one scrape."""

    def __init__(self, tally: Tally, gauges: Gauges, *, reasons: bool) -> None:
        self._tally = tally
        self._gauges = gauges
        self._reasons = reasons

    def collect(self) -> Iterator[Metric]:
        """The families, as the library asks for them."""
        from prometheus_client.core import (  # noqa: PLC0415 - as said above.
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        numbers = dict(self._gauges.load())
        yield GaugeMetricFamily("hermes_cron_load", "Work now or soon; zero: safe to sleep.", numbers.pop("load", None))
        for name, about, number in (
            ("late_seconds", "How long the earliest wake has been due and unclaimed.", self._gauges.late()),
            ("messages_set_aside", "Refused messages that the queue keeps.", self._gauges.set_aside()),
        ):
            yield GaugeMetricFamily(f"hermes_cron_{name}", f"{about} NaN: unreadable.", _or_nan(number))
        parts = GaugeMetricFamily(
            "hermes_cron_load_part", "What the load is made of; NaN: unreadable.", labels=["part"]
        )
        for part, number in numbers.items():
            parts.add_metric([part], _or_nan(number))
        yield parts
        process, tally, refused = str(os.getpid()), self._tally, self._told(self._gauges.refused)
        for name, about, label, counts in (
            ("hermes_cron_fire_answers", "Fires answered, by status.", "status", tally.answers),
            ("hermes_cron_token_refusals", "Fire tokens refused, by reason.", "reason", self._told(tally.refusals)),
            ("hermes_cron_message_refusals", "Messages refused, by reason.", "reason", refused),
        ):
            family = CounterMetricFamily(name, f"{about} Of this process.", labels=["process", label])
            for value, count in sorted(dict(counts).items()):
                family.add_metric([process, value], count)
            yield family
        bounds = [*map(str, _BOUNDS), "+Inf"]
        took = HistogramMetricFamily("hermes_cron_fire_seconds", "From a fire to its answer.", labels=["process"])
        took.add_metric([process], list(zip(bounds, accumulate(tally.buckets), strict=True)), tally.seconds)
        yield took

    def _told(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        return counts if self._reasons else {"untold": sum(dict(counts).values())}


def _or_nan(number: float | None) -> float:
    return float("nan") if number is None else number
