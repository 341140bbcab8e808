"""`Worker`: consumes fires and sees each one through; finds by itself what no message tells of; drains on a signal.

Beside the slots one thread consumes, one sweeps (once at the start, then every 15 s), one holds what is early, and
one reconciles after a sentinel's wake. A fire takes a slot from the claim to the last arm, and none while it is held.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from hermes_cron.clock import monotonic
from hermes_cron.errors import HermesCronError
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Broker, CronScheduler, Delivery, Store

SWEEP_S = 15.0
"""How often a live worker looks for what is overdue, and so how soon a lost message is made good (I16)."""

_AGAIN_S = 60.0
_BUSY_AGAIN_S = 1.0
_STOP_S = 5.0
_log = logging.getLogger("hermes_cron.worker")

FireDue = Callable[[Fire, Callable[[], None]], float | None]


@dataclass(slots=True)
class _Slots:
    """How many fires are being seen through, of how many at a time; none more once they are shut."""

    most: int
    taken: int = 0
    shut: bool = False
    condition: threading.Condition = field(default_factory=threading.Condition)

    def free(self) -> int:
        with self.condition:
            return 0 if self.shut else max(0, self.most - self.taken)

    def take(self) -> bool:
        with self.condition:
            good = self.free() > 0
            self.taken += good
            return good

    def take_when_free(self) -> bool:
        with self.condition:
            self.condition.wait_for(lambda: self.shut or self.taken < self.most)
            return self.take()

    def give(self) -> None:
        with self.condition:
            self.taken -= 1
            self.condition.notify_all()

    def close(self) -> None:
        with self.condition:
            self.shut = True
            self.condition.notify_all()

    def wait_free(self, seconds: float) -> bool:
        with self.condition:
            return self.condition.wait_for(lambda: self.shut or self.taken < self.most, seconds)

    def wait_idle(self, seconds: float) -> bool:
        with self.condition:
            return self.condition.wait_for(lambda: self.taken == 0, max(0.0, seconds))


class Worker:
    """Consumes fires and sees each one through, `concurrency` at a time.

    `fire_due` is `Firing.fire_due`; `ask_all` asks every running body to stop and hand its fire back, and
    `grace` is how long these may take. `start` and `stop` are called once.
    """

    def __init__(
        self, store: Store, broker: Broker, scheduler: CronScheduler, fire_due: FireDue,
        ask_all: Callable[[str], None], *, concurrency: int = 4, drain: timedelta = timedelta(seconds=30),
        grace: timedelta = timedelta(seconds=_STOP_S),
    ) -> None:  # fmt: skip
        self._store, self._broker, self._scheduler = store, broker, scheduler
        self._fire_due = fire_due
        self._ask_all = ask_all
        self._drain = drain.total_seconds()
        self._grace = grace.total_seconds()
        self._slots = _Slots(concurrency)
        self._stopping = threading.Event()
        self._sweep_now = threading.Event()
        self._held = _Held(self._take_when_free)
        self._shunned: dict[str, float] = {}
        self._lock = threading.Lock()
        self._full = threading.Event()
        self._reconciling = False
        self._threads = [
            threading.Thread(target=target, name=f"hermes-cron-{name}", daemon=True)
            for name, target in (
                ("consumer", self._consume), ("sweep", self._sweep_often), ("held", self._held.run),
                ("reconciler", self._reconcile_when_woken),
            )
        ]  # fmt: skip

    def start(self) -> None:
        """Begin to consume and to sweep; returns at once."""
        for thread in self._threads:
            thread.start()

    def busy(self) -> int:
        """How many fires are in its hands (being seen through, or held until their instant), and a full reconcile."""
        return self._slots.taken + len(self._held) + (self._full.is_set() or self._reconciling)

    def awake(self) -> None:
        """A sentinel woke us: sweep now, and reconcile fully, each in a thread of its own."""
        self._full.set()
        self._sweep_now.set()

    def stop(self) -> None:
        """Drain: take no more; let what runs end in its time; ask what does not to stop, and hand its fire back."""
        self._stopping.set()
        self._slots.close()
        self._held.stop()
        self._sweep_now.set()
        self._full.set()
        if not self._slots.wait_idle(self._drain):
            _log.warning("%d fires are still running: their bodies are asked to stop", self._slots.taken)
            self._ask_all("its worker drains")
            if not self._slots.wait_idle(self._grace):
                _log.warning("%d bodies did not stop; this process ends without them", self._slots.taken)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_STOP_S)

    def _consume(self) -> None:
        while not self._stopping.is_set():
            try:
                self._broker.consume(self._handle, self._slots.free, self._stopping.is_set)
            except Exception:  # noqa: BLE001 - the sweep still finds what is due, but messages come sooner.
                _log.exception("the queue could not be consumed; trying again")
                self._stopping.wait(_BUSY_AGAIN_S)

    def _handle(self, delivery: Delivery) -> None:
        # The sweep may have taken the slot that the broker saw free.
        if not self._take(delivery.fire, delivery.ack):
            self._held.hold(delivery.fire, delivery.ack, 0)

    def _take(self, fire: Fire, ack: Callable[[], None]) -> bool:
        return self._slots.take() and self._see_to(fire, ack)

    def _take_when_free(self, fire: Fire, ack: Callable[[], None]) -> bool:
        return self._slots.take_when_free() and self._see_to(fire, ack)

    def _see_to(self, fire: Fire, ack: Callable[[], None]) -> bool:
        name = f"hermes-cron-fire-{fire.job_id}"
        try:
            threading.Thread(target=self._see_through, args=(fire, ack), name=name, daemon=True).start()
        except RuntimeError as error:
            _log.error("the fire of %s waits: %s", fire.job_id, error)
            self._held.hold(fire, ack, _BUSY_AGAIN_S)
            self._slots.give()
        return True

    def _see_through(self, fire: Fire, ack: Callable[[], None]) -> None:
        try:
            wait = self._fire_due(fire, ack)
            if wait is not None:
                self._held.hold(fire, ack, wait)
        except BaseException as error:  # noqa: BLE001 - I17: what one fire breaks must not take the others along.
            self._failed(fire, ack, error)
        finally:
            self._slots.give()

    def _failed(self, fire: Fire, ack: Callable[[], None], error: BaseException) -> None:
        known = isinstance(error, HermesCronError)
        with self._lock:
            self._shunned[fire.job_id] = monotonic() + (_BUSY_AGAIN_S if known else _AGAIN_S)
        _log.error(
            "the fire of %s could not be seen through: %s", fire.job_id, error, exc_info=None if known else error
        )
        try:
            # The message has done its work: the store knows what is due, and the sweep asks it again.
            ack()
        except Exception:  # noqa: BLE001 - it comes once more then, which harms nothing (I13).
            _log.exception("the message of %s could not be acknowledged", fire.job_id)

    def _sweep_often(self) -> None:
        while not self._stopping.is_set():
            self._sweep_now.clear()
            more = False
            try:
                more = self._sweep()
            except HermesCronError as error:
                _log.warning("the sweep could not look into the store: %s", error)
            except Exception:  # noqa: BLE001 - I16 rests on this thread.
                _log.exception("the sweep failed")
            if more:
                self._slots.wait_free(SWEEP_S)
            elif not self._stopping.is_set():
                self._sweep_now.wait(SWEEP_S)

    def _sweep(self) -> bool:
        """Take what is overdue into free slots; whether there is more of it than slots."""
        shunned = self._still_shunned()
        free = self._slots.free()
        found = [job_id for job_id in self._store.overdue(free + 1 + len(shunned)) if job_id not in shunned]
        for job_id in found[:free]:
            if not self._take(Fire(job_id, kind="sweep"), _nothing):
                return True
        return len(found) > free

    def _still_shunned(self) -> set[str]:
        now = monotonic()
        with self._lock:
            self._shunned = {job_id: until for job_id, until in self._shunned.items() if until > now}
            return set(self._shunned)

    def _reconcile_when_woken(self) -> None:
        # Apart from the sweep: to ask NAS takes long when NAS is the one that failed.
        while self._full.wait():
            self._reconciling = not self._stopping.is_set()
            self._full.clear()
            if not self._reconciling:
                return
            try:
                self._scheduler.reconcile(full=True)
            except Exception as error:  # noqa: BLE001 - what is wanted stays wanted (I11), and others go on trying.
                _log.warning("what is armed outside could not be looked at: %s: %s", type(error).__name__, error)
            self._reconciling = False


class _Held:
    """Fires that are early, or wait for a slot, each handed on at its instant and in that order."""

    def __init__(self, take: Callable[[Fire, Callable[[], None]], bool]) -> None:
        self._take = take
        self._heap: list[tuple[float, int, Any]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._going = 0
        self._over = False

    def __len__(self) -> int:
        return len(self._heap) + self._going

    def hold(self, fire: Fire, ack: Callable[[], None], seconds: float) -> None:
        """Keep a fire for so many seconds."""
        with self._changed:
            if not self._over:
                heapq.heappush(self._heap, (monotonic() + seconds, next(self._count), partial(self._take, fire, ack)))
                self._changed.notify()

    def stop(self) -> None:
        """Forget them all: they were not acknowledged, and the store knows them."""
        with self._changed:
            self._over = True
            self._heap.clear()
            self._changed.notify()

    def run(self) -> None:
        """Hand on what has come, until it is stopped."""
        while True:
            with self._changed:
                if self._over:
                    return
                left = self._heap[0][0] - monotonic() if self._heap else None
                if left is None or left > 0:
                    self._changed.wait(left)
                    continue
                self._going = 1
                go = heapq.heappop(self._heap)[2]
            go()
            self._going = 0


def _nothing() -> None:
    """A sweep has no message to acknowledge."""
