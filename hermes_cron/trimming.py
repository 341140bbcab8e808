"""`Trimmer`: has the ledger trimmed after fires were seen through, a short step at a time, never before one runs.

What fires add to the ledger is what has to go again, so the work follows the fires: a process that sees none through
trims nothing, and one that lives for a moment only, as at zero, takes its step when its fire is over.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hermes_cron.clock import monotonic
from hermes_cron.errors import HermesCronError
from hermes_cron.interfaces import Store
from hermes_cron.ledger import Keep

FIRES_A_STEP = 500
PAUSE_S = 15.0
"""How long after a step the next may come, and how long at most one waits until nothing runs."""

_LOOK_S = 0.1
_STOP_S = 5.0
_log = logging.getLogger("hermes_cron.trimming")


class Trimmer:
    """Trims the ledger of one process's store. `busy` tells how many fires are in the process's hands.

    `start` and `stop` are called once; where everything is kept for ever they do nothing.
    """

    def __init__(self, store: Store, keep: Keep, busy: Callable[[], int], *, pause: float = PAUSE_S) -> None:
        self._store, self._keep, self._busy = store, keep, busy
        self._pause = pause
        self._wanted = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hermes-cron-trimmer", daemon=True)

    def start(self) -> None:
        """Begin to wait for fires; returns at once."""
        if not self._keep.for_ever:
            self._thread.start()

    def stop(self) -> None:
        """End its thread. A step that is under way is short, and one that is cut off did nothing."""
        self._over.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def note(self) -> None:
        """A fire was seen through: the ledger may have grown."""
        self._wanted.set()

    def _run(self) -> None:
        while self._wanted.wait():
            self._wanted.clear()
            self._wait_until_nothing_runs()
            if self._over.is_set():
                return
            if self._step() >= FIRES_A_STEP:
                self._wanted.set()
            self._over.wait(self._pause)

    def _wait_until_nothing_runs(self) -> None:
        # On one file there is one lock: whoever is to run goes first. But a process that is always busy trims, too.
        until = monotonic() + self._pause
        while self._busy() and monotonic() < until and not self._over.wait(_LOOK_S):
            pass

    def _step(self) -> int:
        try:
            went = self._store.trim(self._keep, FIRES_A_STEP)
        except HermesCronError as error:
            _log.warning("the ledger could not be trimmed, which can wait: %s", error)
            return 0
        except Exception:  # noqa: BLE001 - I17: it harms no fire.
            _log.exception("the ledger could not be trimmed")
            return 0
        if went:
            _log.info("%d fires were trimmed from the ledger", went)
        return went
