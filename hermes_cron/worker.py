"""`Worker`: consumes fires and sees each one through; finds by itself what no message tells of; drains on a signal.

Three threads beside the slots: one consumes, one sweeps (once at the start, then every 15 s), one renews leases. A
fire takes a slot from the claim to the last arm. A fire that is early is held outside the slots until its instant.
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
    """How many fires are being seen through, of how many at a time."""

    most: int
    taken: int = 0
    condition: threading.Condition = field(default_factory=threading.Condition)

    def free(self) -> int:
        with self.condition:
            return max(0, self.most - self.taken)

    def take(self) -> None:
        with self.condition:
            self.taken += 1

    def give(self) -> None:
        with self.condition:
            self.taken -= 1
            self.condition.notify_all()

    def wait_free(self, seconds: float) -> bool:
        with self.condition:
            return self.condition.wait_for(lambda: self.taken < self.most, seconds)

    def wait_idle(self, seconds: float) -> bool:
        with self.condition:
            return self.condition.wait_for(lambda: self.taken == 0, max(0.0, seconds))


class Worker:
    """Consumes fires and sees each one through, `concurrency` at a time.

    `fire_due` is `Firing.fire_due`; `ask_all` asks every running body to stop and hand its fire back. `start` and
    `stop` are called once.
    """

    def __init__(
        self, store: Store, broker: Broker, scheduler: CronScheduler, fire_due: FireDue,
        ask_all: Callable[[str], None], *, concurrency: int = 4, drain: timedelta = timedelta(seconds=30),
    ) -> None:  # fmt: skip
        self._store, self._broker, self._scheduler = store, broker, scheduler
        self._fire_due = fire_due
        self._ask_all = ask_all
        self._drain = drain.total_seconds()
        self._slots = _Slots(concurrency)
        self._stopping = threading.Event()
        self._sweep_now = threading.Event()
        self._held = _Held(self._take)
        self._shunned: dict[str, float] = {}
        self._full = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=f"hermes-cron-{name}", daemon=True)
            for name, target in (("consumer", self._consume), ("sweep", self._sweep_often), ("held", self._held.run))
        ]

    def start(self) -> None:
        """Begin to consume and to sweep; returns at once."""
        for thread in self._threads:
            thread.start()

    def busy(self) -> int:
        """How many fires are in its hands: being seen through, or held until their instant."""
        return self._slots.taken + len(self._held)

    def awake(self) -> None:
        """A sentinel woke us: reconcile fully, and sweep now, both in the sweep's thread."""
        self._full.set()
        self._sweep_now.set()

    def stop(self) -> None:
        """Drain: take no more; let what runs end in its time; hand back what does not; try once more to arm."""
        self._stopping.set()
        self._sweep_now.set()
        self._held.stop()
        if not self._slots.wait_idle(self._drain):
            _log.warning("%d fires are still running: their bodies are asked to stop", self._slots.taken)
            self._ask_all("its worker drains")
            if not self._slots.wait_idle(_STOP_S):
                _log.warning("%d bodies did not stop; this process ends without them", self._slots.taken)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_STOP_S)

    def _consume(self) -> None:
        self._broker.consume(self._handle, self._slots.free, self._stopping.is_set)

    def _handle(self, delivery: Delivery) -> None:
        self._take(delivery.fire, delivery.ack)

    def _take(self, fire: Fire, ack: Callable[[], None]) -> None:
        self._slots.take()
        name = f"hermes-cron-fire-{fire.job_id}"
        threading.Thread(target=self._see_through, args=(fire, ack), name=name, daemon=True).start()

    def _see_through(self, fire: Fire, ack: Callable[[], None]) -> None:
        try:
            wait = self._fire_due(fire, ack)
            if wait is not None:
                self._held.hold(fire, ack, wait)
        except HermesCronError as error:
            # The message has done its work: the store knows what is due, and the sweep asks it again.
            self._shunned[fire.job_id] = monotonic() + _BUSY_AGAIN_S
            _log.error("the fire of %s could not be decided: %s", fire.job_id, error)
            ack()
        except Exception:  # noqa: BLE001 - I17: what one fire breaks must not take the others along.
            self._shunned[fire.job_id] = monotonic() + _AGAIN_S
            _log.exception("the fire of %s could not be seen through", fire.job_id)
            ack()
        finally:
            self._slots.give()

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
            else:
                self._sweep_now.wait(SWEEP_S)

    def _sweep(self) -> bool:
        """Take what is overdue into free slots; whether there is more of it than slots."""
        if self._full.is_set():
            self._full.clear()
            self._scheduler.reconcile(full=True)
        now = monotonic()
        self._shunned = {job_id: until for job_id, until in self._shunned.items() if until > now}
        free = self._slots.free()
        overdue = self._store.overdue(free + 1 + len(self._shunned))
        found = [job_id for job_id in overdue if job_id not in self._shunned]
        for job_id in found[:free]:
            if self._stopping.is_set():
                return False
            self._take(Fire(job_id, kind="sweep"), _nothing)
        return len(found) > free


class _Held:
    """Fires that are early, each handed on at its instant."""

    def __init__(self, take: Callable[[Fire, Callable[[], None]], None]) -> None:
        self._take = take
        self._heap: list[tuple[float, int, Any]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._over = False

    def __len__(self) -> int:
        return len(self._heap)

    def hold(self, fire: Fire, ack: Callable[[], None], seconds: float) -> None:
        """Keep a fire for so many seconds."""
        with self._changed:
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
                go = heapq.heappop(self._heap)[2]
            go()


def _nothing() -> None:
    """A sweep has no message to acknowledge."""
