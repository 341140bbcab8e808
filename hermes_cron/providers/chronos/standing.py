"""`Standing`: how we stand with NAS. While it asked us to wait, or refuses our credential, no call is made."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hermes_cron.clock import monotonic
from hermes_cron.errors import NasError, NasRefused

UNAUTHORIZED = "unauthorized"
INVALID_CLIENT = "invalid_client"

AGAIN_S = {UNAUTHORIZED: 60.0, INVALID_CLIENT: 3600.0}
"""Seconds after which a refused credential is tried again, though nobody changed it."""

MAX_RETRY_AFTER_S = 300.0
"""As long as NAS may have us wait: alarms are not held meanwhile."""


class Standing:
    """What NAS last said about all of our calls; `stamp` tells one credential from another."""

    def __init__(self, stamp: Callable[[], object], ticks: Callable[[], float] = monotonic) -> None:
        self.stamp = stamp
        self._ticks = ticks
        self._lock = threading.Lock()
        self._until = 0.0
        self._refusal: tuple[NasRefused, object] | None = None

    def objection(self) -> NasError | None:
        """The error that a call would meet now, so that it need not be made; None when it may be made."""
        with self._lock:
            left = self._until - self._ticks()
            if left <= 0:
                return None
            if self._refusal is None:
                return NasError(f"NAS asked us to wait, {left:.0f} s from now.", retry_after=left)
            refusal, stamp = self._refusal
        if stamp != self.stamp():
            self.forgive()
            return None
        return NasRefused(refusal.message, reason=refusal.reason)

    def note(self, error: NasError) -> None:
        """Remember what a call met, where it stands for all calls."""
        with self._lock:
            if isinstance(error, NasRefused):
                if error.reason in AGAIN_S:
                    self._refusal = (error, self.stamp())
                    self._until = self._ticks() + AGAIN_S[error.reason]
            elif error.retry_after is not None:
                self._refusal = None
                self._until = self._ticks() + min(error.retry_after, MAX_RETRY_AFTER_S)

    def forgive(self) -> None:
        """Forget it all: call and see."""
        with self._lock:
            self._until, self._refusal = 0.0, None
