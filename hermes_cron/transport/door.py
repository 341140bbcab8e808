"""`Door`: a broker that can be shut to new fires, while what is queued already is still consumed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hermes_cron.errors import Draining
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Broker, Delivery


class Door:
    """The webhook's side of a process that may end: `shut` it, look whether anything came in, then end or `open` it.

    A fire is either refused with `Draining`, or is on the queue before `shut` returns: none can slip in between the
    last look and the end.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._shut = False
        self._inside = 0
        self._changed = threading.Condition()

    def shut(self) -> None:
        """Refuse new fires; returns once those on their way in are on the queue, within the broker's deadline."""
        with self._changed:
            self._shut = True
            self._changed.wait_for(lambda: self._inside == 0, 10.0)

    def open(self) -> None:
        """Take fires again."""
        with self._changed:
            self._shut = False

    def enqueue(self, fire: Fire) -> None:
        """Put a fire on the queue.

        Raises:
            Draining: The door is shut.
            BrokerError: It was not confirmed within the deadline.
        """
        with self._changed:
            if self._shut:
                raise Draining("This process is about to end.")
            self._inside += 1
        try:
            self._broker.enqueue(fire)
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def consume(self, handle: Callable[[Delivery], None], free: Callable[[], int], stop: Callable[[], bool]) -> None:
        """As the broker does."""
        self._broker.consume(handle, free, stop)

    def depth(self) -> int | None:
        """As the broker says."""
        return self._broker.depth()

    def set_aside(self) -> int | None:
        """As the broker says."""
        return self._broker.set_aside()

    def close(self) -> None:
        """Close the broker."""
        self._broker.close()
