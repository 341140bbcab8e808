"""`memory://`: joins web and worker of one process. Kept nowhere; woken, not polled."""

from __future__ import annotations

import contextlib
import os
from collections import deque

from kombu.connection import Connection

from hermes_cron.interfaces import Broker
from hermes_cron.transport.broker import KombuBroker
from hermes_cron.transport.envelope import Envelope
from hermes_cron.transport.line import KEPT_REJECTED, Line, Parcel, Place
from hermes_cron.transport.signing import Signer
from hermes_cron.transport.waiting import Wake

_waiting: dict[tuple[int, str], set[Wake]] = {}
"""Who waits for messages, by process (a fork has its own queues) and queue."""

rejected: dict[str, deque[tuple[str, bytes]]] = {}
"""The rejected messages of each queue, with the reasons."""


class MemoryLine(Line):
    """A line to queues of this process."""

    def __init__(self, place: Place) -> None:
        self._taking = False
        self._wake: Wake | None = None
        super().__init__(place, Connection("memory://"))
        self.channel.Message = Envelope

    def publish(self, body: bytes, seconds: float) -> None:
        """Put a message on the queue and wake who waits for it."""
        super().publish(body, seconds)
        self._ring()

    def allow(self, most: int) -> None:
        """Take messages, or not: they come one by one, so the number does not matter."""
        if self._taking == (most > 0):
            return
        self._taking = not self._taking
        if self._taking:
            self.channel.basic_consume(self.place.queue, no_ack=False, callback=self._arrive, consumer_tag="fires")
        else:
            self.channel.basic_cancel("fires")

    def wait(self, wake: Wake, seconds: float) -> None:
        """Take what is there, or else wait for a ring: everybody who publishes here rings."""
        if self._wake is None:
            self._wake = wake
            _waiting.setdefault(self._key, set()).add(wake)
        if not self._taking or not self._drained():
            wake.wait((), seconds)

    def reject(self, parcel: Parcel, reason: str) -> None:
        """Take a message out of the queue and keep it while this process lives."""
        rejected.setdefault(self.place.queue, deque(maxlen=KEPT_REJECTED)).append((reason, parcel.body))
        self.channel.basic_reject(parcel.tag, requeue=False)

    def set_aside(self) -> int:
        """How many rejected messages are kept, in this process."""
        return len(rejected.get(self.place.queue, ()))

    def put_back(self, parcel: Parcel) -> None:
        """Give a message back to the queue, for anybody."""
        super().put_back(parcel)
        self._ring()

    def drop(self) -> None:
        """Forget the line, but not its messages."""
        if self._wake is not None:
            _waiting.get(self._key, set()).discard(self._wake)
        with contextlib.suppress(Exception):
            super().close()

    def close(self) -> None:
        """Forget the line; what it held was put back one by one."""
        self.drop()

    @property
    def _key(self) -> tuple[int, str]:
        return os.getpid(), self.place.queue

    def _ring(self) -> None:
        for wake in tuple(_waiting.get(self._key, ())):
            wake.ring()

    def _drained(self) -> bool:
        try:
            self._transport.drain_events(self._link, timeout=0)
        except TimeoutError:
            return False
        return True


def open_memory(queue: str, deadline: float, signer: Signer | None = None) -> Broker:
    """A broker over a queue of this process."""
    return KombuBroker(Place("memory://", queue, deadline, signer), MemoryLine)
