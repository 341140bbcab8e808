"""End a process that has nothing to do, and lose nothing by it: shut the door, look again, then end, or open it.

It counts the runs of its own worker and what is due soon, and of the whole store every dead lease, waiting or due
fire and wanted arm: while an arm is wanted, somebody must stay awake for it (I11). What cannot be read counts as busy.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from hermes_cron.clock import monotonic
from hermes_cron.interfaces import Broker, Store

_LOOK_S = 0.25
_log = logging.getLogger("hermes_cron.idle")


@dataclass(frozen=True, slots=True)
class Gate:
    """How the way in is shut and opened."""

    shut: Callable[[], None]
    open: Callable[[], None]


class IdleExit:
    """Watches from a thread of its own, and calls `end` once after `seconds` without anything to do."""

    def __init__(
        self, store: Store, broker: Broker, busy: Callable[[], int], gate: Gate, end: Callable[[], None],
        seconds: float,
    ) -> None:  # fmt: skip
        self._store, self._broker, self._busy = store, broker, busy
        self._gate = gate
        self._end = end
        self._seconds = seconds
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, name="hermes-cron-idle", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()

    def idle(self) -> bool:
        """Whether there is nothing to do now, and nothing due within the seconds."""
        try:
            if self._busy() or self._broker.depth() != 0:
                return False
            load = self._store.load(self._seconds)
            # Other workers' live runs are their own: they keep them awake, not us.
            return load.total - load.open_runs == 0 and self._busy() == 0
        except Exception as error:  # noqa: BLE001 - whatever the reason: what cannot be read counts as busy.
            _log.warning("what there is to do cannot be read, so this process stays: %s", error)
            return False

    def asleep(self) -> bool:
        """Shut the door and look once more: True when it stays shut and this process may end."""
        self._gate.shut()
        if self.idle():
            return True
        self._gate.open()
        return False

    def _watch(self) -> None:
        since = monotonic()
        while not self._over.wait(min(_LOOK_S, max(self._seconds / 4, 0.05))):
            if not self.idle():
                since = monotonic()
            elif monotonic() - since >= self._seconds and self.asleep():
                _log.info("nothing to do for %g s: this process ends, and the next fire wakes it", self._seconds)
                self._end()
                return
