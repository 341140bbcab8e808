"""How much an agent may ask: a bucket of calls per agent, filled steadily, and how many arms it may have."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hermes_cron.clock import monotonic

CALLS_PER_SECOND = 500
SECONDS_AT_ONCE = 10
"""What an agent has not called for so long, it may call at once."""

BURST = CALLS_PER_SECOND * SECONDS_AT_ONCE
ITEMS_PER_CALL = 20
"""How many items of a batch count as one call: about what they cost the server, as a call goes to the disk once."""

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

    def charge(self, agent_id: int, calls: float) -> None:
        """What is being served for this agent is as much work as so many more calls: it comes later for the next."""
        now = self._seconds()
        with self._lock:
            left, seen = self._left.get(agent_id, (self._burst, now))
            self._left[agent_id] = (left - calls, seen)
