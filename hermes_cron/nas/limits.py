"""How often an agent may call: a bucket of calls per agent, filled steadily."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hermes_cron.clock import monotonic

CALLS_PER_SECOND = 500.0
BURST = 5000.0
QUOTA = 100_000
"""How many arms one agent may have."""


class Limits:
    """Counts calls per agent. May be used from any thread."""

    def __init__(
        self, per_second: float = CALLS_PER_SECOND, burst: float = BURST, *, seconds: Callable[[], float] = monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._seconds = seconds
        self._lock = threading.Lock()
        self._left: dict[int, tuple[float, float]] = {}

    def wait(self, agent_id: int) -> float:
        """Take one call of this agent: 0 when it may be served, else after how many seconds it may come again."""
        now = self._seconds()
        with self._lock:
            left, seen = self._left.get(agent_id, (self._burst, now))
            left = min(self._burst, left + (now - seen) * self._per_second)
            served = left >= 1
            self._left[agent_id] = (left - served, now)
        return 0.0 if served else (1 - left) / self._per_second
