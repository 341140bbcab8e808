"""Renew the leases of the runs that live here, and stop the bodies of those whose lease may be somebody else's soon.

The supervisor's thread, never the body, renews. That the store cannot be reached is no reason to stop; that the
lease is about to end is: measured on the boot-time clock, from before the last renewal was sent, so that a machine
that was suspended knows how long.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from hermes_cron.clock import boot_seconds
from hermes_cron.interfaces import Store
from hermes_cron.rules.progress import Lost, renew
from hermes_cron.run import Run, StopSign

MARGIN_S = 10.0
"""How long before the end of an unrenewed lease its body is stopped."""

GRACE_S = 5.0
"""How long a body that lost its lease may take to return before its whole process is ended."""

TAKEN = "taken over"
UNREACHABLE = "the lease could not be renewed"

_TICK_S = 0.5
_EXIT_CODE = 70
_log = logging.getLogger("hermes_cron.leases")


@dataclass(slots=True)
class Kept:
    """One run that lives here: its stop sign, and when its last good renewal was sent (boot-time seconds)."""

    run: Run
    sign: StopSign
    renewed: float
    due: float
    lost: float | None = field(default=None)


def end_process() -> None:
    """End this process at once: a body that goes on without a lease could overlap with its successor."""
    _log.critical("a body did not stop though its lease is lost: this process ends now")
    logging.shutdown()
    os._exit(_EXIT_CODE)


class Leases:
    """The leases of the runs of one worker, renewed every third of their life by a thread of its own."""

    def __init__(
        self, store: Store, lease: timedelta, *, boot: Callable[[], float] = boot_seconds,
        give_up: Callable[[], None] = end_process,
    ) -> None:  # fmt: skip
        self._store = store
        self._lease = lease
        self._boot = boot
        self._give_up = give_up
        self._kept: dict[str, Kept] = {}
        self._asked = ""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hermes-cron-leases", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is still kept is renewed no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(2 * _TICK_S + MARGIN_S)

    @contextmanager
    def keep(self, run: Run) -> Iterator[StopSign]:
        """Renew the lease of this run as long as the context lasts; the sign says when its body must stop."""
        now = self._boot()
        kept = Kept(run, StopSign(), now, now + self._step)
        with self._lock:
            self._kept[run.id] = kept
            asked = self._asked
        if asked:
            kept.sign.put_up(asked, hand_back=True)
        try:
            yield kept.sign
        finally:
            with self._lock:
                self._kept.pop(run.id, None)

    def ask_all(self, reason: str) -> None:
        """Ask every body to stop, and hand its fire back; those too whose runs are being claimed now."""
        with self._lock:
            self._asked = reason
        for kept in self._now():
            kept.sign.put_up(reason, hand_back=True)

    def runs(self) -> list[Run]:
        """The runs that live here."""
        return [kept.run for kept in self._now()]

    def look(self) -> None:
        """Renew what is due, and judge what could not be renewed. One round of the thread."""
        for kept in self._now():
            if kept.lost is None and self._boot() >= kept.due:
                self._renew(kept)
                # A store that hangs takes seconds for each of them: nobody's end may wait for all the others.
                self._judge_all()
        self._judge_all()

    @property
    def _step(self) -> float:
        # Of a short lease the margin leaves less than a third, and one late renewal must not lose it.
        return min(self._lease.total_seconds() / 3, (self._lease.total_seconds() - MARGIN_S) / 2)

    def _now(self) -> list[Kept]:
        with self._lock:
            return list(self._kept.values())

    def _watch(self) -> None:
        while not self._over.wait(_TICK_S):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - without this thread every lease here would die.
                _log.exception("the leases could not be looked after")

    def _renew(self, kept: Kept) -> None:
        sent = self._boot()
        try:
            held = self._store.change(kept.run.job_id, partial(renew, run=kept.run, lease=self._lease))
        except Exception as error:  # noqa: BLE001 - I17: whatever is wrong with one, the others are renewed.
            kept.due = sent + 1
            _log.warning("the lease of run %s could not be renewed: %s: %s", kept.run.id, type(error).__name__, error)
            return
        if isinstance(held, Lost):
            kept.lost = sent
            kept.sign.put_up(TAKEN, hand_back=True)
            return
        kept.renewed, kept.due = sent, sent + self._step
        if held.cancel:
            kept.sign.put_up(held.cancel)

    def _judge_all(self) -> None:
        for kept in self._now():
            self._judge(kept)

    def _judge(self, kept: Kept) -> None:
        now = self._boot()
        if kept.lost is None and now >= kept.renewed + self._lease.total_seconds() - MARGIN_S:
            kept.lost = now
            kept.sign.put_up(UNREACHABLE, hand_back=True)
        if kept.lost is not None and kept.sign.inside and now >= kept.lost + GRACE_S:
            self._give_up()
