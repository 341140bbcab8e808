"""The timer: sleeps until the earliest instant at which something is due, then delivers, each fire in a thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from hermes_cron.clock import Clock, instant_text, monotonic
from hermes_cron.errors import StoreError
from hermes_cron.nas.book import Book, Due
from hermes_cron.nas.held import Held, Result, State

_log = logging.getLogger("hermes_cron.nas")

SLOTS = 64
SLOTS_EACH = 16
"""How many deliveries of one agent may be under way: one that hangs must not hold up the others."""

SLOTS_SPARE = 16
"""How many slots are kept for agents of which nothing is under way: a few that hang must not do so together either."""

LONGEST_SLEEP_S = 5.0
"""The wall clock can be set, and a machine can be suspended, while the timer sleeps; then it must look again."""

TROUBLE_S = 1.0
"""How long to leave the state alone when it cannot be used."""

Deliver = Callable[[Due], Result]


class Timer:
    """Delivers what is due in the book. `deliver` makes one attempt; it is called from many threads at once."""

    def __init__(self, book: Book, deliver: Deliver, clock: Clock) -> None:
        self._book = book
        self._deliver = deliver
        self._clock = clock
        self._bell = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hermes-cron-nas-timer", daemon=True)

    def start(self) -> None:
        """Begin; what came due while nobody served is delivered first."""
        self._thread.start()

    def ring(self) -> None:
        """Something in the book changed: look again."""
        self._bell.set()

    def stop(self, seconds: float) -> None:
        """Begin no delivery any more, and wait this long for those under way; one cut off here is delivered again."""
        self._ended.set()
        self.ring()
        until = monotonic() + seconds
        if self._thread.is_alive():
            self._thread.join(seconds)
        while self._book.in_delivery() and monotonic() < until:
            self._bell.clear()
            self._bell.wait(0.05)

    @property
    def alive(self) -> bool:
        """Whether it was started and not stopped."""
        return self._thread.is_alive() and not self._ended.is_set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                wait = self._round()
            except Exception as error:  # noqa: BLE001 - whatever it was, the alarms of all agents hang on this thread.
                _log.error("the timer stumbled: %s", error, exc_info=not isinstance(error, StoreError))
                self._ended.wait(TROUBLE_S)
                continue
            self._bell.wait(wait)
            self._bell.clear()

    def _round(self) -> float:
        # A bell that rings during this round is heard by the wait after it, which then ends at once. The clock is read
        # once: what came due between two readings would be neither taken nor waited for.
        now = self._clock()
        self._send(self._book.take(now, SLOTS - self._book.in_delivery(), SLOTS_EACH, SLOTS_SPARE))
        at = self._book.next_due(now)
        if at is None:
            return LONGEST_SLEEP_S
        return min(max(0.0, (at - self._clock()).total_seconds()), LONGEST_SLEEP_S)

    def _send(self, taken: Sequence[Due]) -> None:
        for index, due in enumerate(taken):
            thread = threading.Thread(target=self._see_through, args=(due,), name="hermes-cron-nas-fire", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The machine has no thread left to give: these are due still, and taken again later.
                for left in taken[index:]:
                    self._book.release(left.held)
                raise

    def _see_through(self, due: Due) -> None:
        try:
            if self._book.stands(due.held):
                began = self._clock()
                result = self._attempt(due)
                now = self._book.finish(due.held, result)
                report(due, result, now, (began - due.held.fire_at).total_seconds())
        except Exception as error:  # noqa: BLE001 - what could not be written down is due still: sent again, in no storm.
            _log.error("a delivery stumbled: %s", error, exc_info=not isinstance(error, StoreError))
            self._ended.wait(TROUBLE_S)
        finally:
            self._book.release(due.held)
            self.ring()

    def _attempt(self, due: Due) -> Result:
        try:
            return self._deliver(due)
        except Exception:  # noqa: BLE001 - a bug of ours must cost a retry, not the fire.
            _log.exception("the fire of %s could not be sent", due.held.job_id)
            return Result(None, "it could not be sent; the log says why")


def report(due: Due, result: Result, now: Held | None, late: float) -> None:
    """Log one line about one attempt at a fire; what an answer said is quoted, and no token is in it."""
    what, level = _verdict(result, now)
    again = f" again={instant_text(now.due_at)}" if now is not None and now.due_at is not None else ""
    _log.log(
        level, "fire %s: agent=%s job_id=%s fire_at=%s late=%.3fs attempt=%d status=%s%s%s",
        what, due.agent.name, due.held.job_id, instant_text(due.held.fire_at), late,
        due.held.failures + due.held.deliveries + 1, result.status or "none", again,
        f" ({result.reason})" if result.reason else "",
    )  # fmt: skip


def _verdict(result: Result, now: Held | None) -> tuple[str, int]:
    if now is not None and now.state is State.DEAD:
        return "dead", logging.ERROR
    if result.ok:
        return ("delivered", logging.INFO)
    if result.status == 401:
        return "refused its token", logging.ERROR
    return ("failed" if now is not None else "failed, and was replaced"), logging.WARNING
