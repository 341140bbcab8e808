"""`Backoff`: when to try again, of each id by itself and of NAS as a whole; jittered, and short while NAS is away."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from hermes_cron.clock import monotonic
from hermes_cron.errors import NasError, NasRefused
from hermes_cron.providers.chronos.standing import AGAIN_S

FIRST_S = 0.5
LONGEST_S = 30.0
LONGEST_FOR_NAS_S = 4.0
"""Small, so that an alarm stands within seconds of NAS's return; one call at a time is made meanwhile."""
REFUSED_S = 3600.0
_DOWN = 3
_EXPONENT = 10


class Backoff:
    """The failures of calls to NAS, in this process. May be used from any thread."""

    def __init__(self, ticks: Callable[[], float] = monotonic) -> None:
        self._ticks = ticks
        self._lock = threading.Lock()
        self._ids: dict[str, tuple[int, float]] = {}
        self._row = 0
        self._nas_at = 0.0

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def down(self) -> bool:
        """Whether the last call of all failed."""
        return self._row > 0

    def wait(self) -> float:
        """Seconds until NAS may be called again at all."""
        return max(0.0, self._nas_at - self._ticks())

    def ready(self, job_id: str) -> bool:
        """Whether this id may be tried again."""
        return self._ids.get(job_id, (0, 0.0))[1] <= self._ticks()

    def next_ready(self) -> float:
        """Seconds until the first of the failed ids may be tried again; a negative number when one may be."""
        with self._lock:
            return min((at for _, at in self._ids.values()), default=float("inf")) - self._ticks()

    def succeeded(self, job_id: str) -> None:
        """NAS did as ordered: it is there, so what failed only because it was away may be tried at once."""
        with self._lock:
            if self._row >= _DOWN:
                self._ids = {key: kept for key, kept in self._ids.items() if kept[0] == 0}
            self._row, self._nas_at = 0, 0.0
            self._ids.pop(job_id, None)

    def failed(self, job_id: str, error: NasError, held: float) -> None:
        """The call failed; for `held` seconds nobody may call NAS about this id."""
        with self._lock:
            now = self._ticks()
            # A refused credential is no fault of the id: `Standing` sees to it that no call is made meanwhile.
            if isinstance(error, NasRefused) and error.reason not in AGAIN_S:
                self._ids[job_id] = (0, now + (error.retry_after or REFUSED_S))
                return
            count = self._ids.get(job_id, (0, 0.0))[0] + 1
            pause = max(held, _jittered(count, LONGEST_S), error.retry_after or 0.0)
            self._ids[job_id] = (count, now + pause)

    def round_failed(self) -> None:
        """A round of calls in which NAS answered none is over."""
        with self._lock:
            self._row += 1
            self._nas_at = self._ticks() + _jittered(self._row, LONGEST_FOR_NAS_S)

    def busy(self, job_id: str, held: float) -> None:
        """Another caller has the right to call NAS about this id, for so many seconds."""
        with self._lock:
            self._ids[job_id] = (self._ids.get(job_id, (0, 0.0))[0], self._ticks() + held)

    def keep_only(self, job_ids: set[str]) -> None:
        """Forget ids that are no longer wanted."""
        with self._lock:
            self._ids = {job_id: kept for job_id, kept in self._ids.items() if job_id in job_ids}

    def forgive(self) -> None:
        """Try everything again: the credential has changed, or we have just started."""
        with self._lock:
            self._ids, self._row, self._nas_at = {}, 0, 0.0


def _jittered(count: int, longest: float) -> float:
    most = min(longest, FIRST_S * 2 ** min(count - 1, _EXPONENT))
    return random.uniform(most / 2, most)  # noqa: S311 - it spreads out callers, and guards nothing.
