"""The ladder: sentinel alarms after the next wake, so that an outage of NAS does not end the chain."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from hermes_cron.contract import SENTINEL_PREFIX
from hermes_cron.interfaces import Store
from hermes_cron.providers.chronos import steps

MOST_RUNGS = 16
"""As many as the configuration takes."""


class Ladder:
    """The sentinels `_wake.1` and on, one a rung; each rung is how long after the earliest wake NAS is to wake us."""

    def __init__(self, rungs: tuple[float, ...]) -> None:
        self._rungs = tuple(timedelta(seconds=rung) for rung in rungs)

    def push(self, store: Store, horizon: timedelta | None) -> list[str]:
        """Move the sentinels on, or cancel them when no job has a wake; the ids that NAS must be told about.

        Raises:
            StoreError: The store cannot be reached.
        """
        wake = store.next_wake()
        if wake is None:
            return self._drop(store, 0, len(self._rungs))
        # What is overdue is being seen to; a rung counted from it would go off at once.
        base = max(wake - store.now(), timedelta(0))
        return [
            _sentinel(number)
            for number, rung in enumerate(self._rungs)
            if store.change(_sentinel(number), partial(steps.push_rung, rung=rung, base=base, horizon=horizon))
        ]

    def shorten(self, store: Store) -> list[str]:
        """Cancel sentinels of rungs that are no longer configured; the ids that NAS must be told about.

        Raises:
            StoreError: The store cannot be reached.
        """
        return self._drop(store, len(self._rungs), MOST_RUNGS)

    def _drop(self, store: Store, first: int, end: int) -> list[str]:
        ids = [_sentinel(number) for number in range(first, end)]
        return [job_id for job_id in ids if store.read(job_id) and store.change(job_id, steps.drop_sentinel)]


def _sentinel(number: int) -> str:
    return f"{SENTINEL_PREFIX}{number + 1}"
