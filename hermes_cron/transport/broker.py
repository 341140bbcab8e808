"""`KombuBroker`: fires on one durable queue, whatever kombu carries it by."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from hermes_cron.clock import monotonic, utc_now
from hermes_cron.errors import BrokerError
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Delivery
from hermes_cron.transport.consuming import Consumer, reserved
from hermes_cron.transport.line import Line, Place
from hermes_cron.transport.message import encode
from hermes_cron.transport.waiting import within

_MOST_IDLE = 64
_LEAST_S = 0.05
_log = logging.getLogger("hermes_cron.transport")

_INHERITED: list[deque[Line]] = []
"""What a child of a fork must never touch, not even to give it back to the memory: its sockets are the parent's."""


class KombuBroker:
    """A broker that connects at its first use in each process; every thread that is inside has a line to itself."""

    def __init__(self, place: Place, connect: Callable[[Place], Line]) -> None:
        self._place = place
        self._connect = connect
        self._pid = os.getpid()
        self._idle: deque[Line] = deque()
        self._closed = False

    def enqueue(self, fire: Fire) -> None:
        """Put a fire on the queue, as durably as the broker can; what fails at once is tried once more.

        Raises:
            BrokerError: It was not confirmed within the deadline; it may have been queued all the same.
        """
        if self._place.signer is not None and fire.received_at is None:
            # A signed message must say when it was signed.
            fire = replace(fire, received_at=utc_now())
        body = encode(fire)
        until = monotonic() + self._place.deadline
        try:
            line = self._idle_line()
            if line is None or not self._published(line, body):
                tries = 2 if line is None else 1
                within(until - monotonic(), lambda: self._publish_anew(body, until, tries), _forget)
        except BrokerError:
            raise
        except Exception as error:
            raise self._explained(error) from error

    def consume(self, handle: Callable[[Delivery], None], free: Callable[[], int], stop: Callable[[], bool]) -> None:
        """Hand deliveries to `handle`, never more at a time than `free()` slots, until `stop()`; reconnects by itself.

        Each call has a connection of its own.
        """
        Consumer(self._place, lambda: self._connect(self._place), handle, free, stop).run()

    def depth(self) -> int | None:
        """How many messages wait in the queue or are reserved unacknowledged; None when that cannot be read.

        Over AMQP, what other processes hold is not in it: that server tells it to nobody but its operators.
        """
        return self._read(lambda line: line.depth() + (0 if line.counts_reserved else reserved(self._place)))

    def set_aside(self) -> int | None:
        """How many messages that were refused are kept to be looked at; None when that cannot be read."""
        return self._read(lambda line: line.set_aside())

    def close(self) -> None:
        """Give back every connection. Closing twice is closing once."""
        self._closed = True
        self._drop_idle()

    def _published(self, line: Line, body: bytes) -> bool:
        """Whether a line that lay idle took the message; raises when it took too long to fail."""
        began = monotonic()
        try:
            line.publish(body, self._place.deadline)
        except Exception as error:
            # Its server was lost, so the other lines are too. With what is left of the time a new one is tried.
            line.drop()
            self._drop_idle()
            if monotonic() - began > self._place.deadline / 2:
                raise
            _log.debug("a line to the queue %s broke: %s", self._place.where, self._place.reason(error))
            return False
        self._give_back(line)
        return True

    def _publish_anew(self, body: bytes, until: float, tries: int) -> None:
        try:
            line = self._connect(self._place)
            try:
                line.publish(body, max(until - monotonic(), _LEAST_S))
            except BaseException:
                line.drop()
                raise
        except Exception:
            if tries < 2 or until - monotonic() < 2 * _LEAST_S:
                raise
            time.sleep(_LEAST_S)
            self._publish_anew(body, until, tries - 1)
        else:
            self._give_back(line)

    def _read(self, count: Callable[[Line], int]) -> int | None:
        try:
            return within(self._place.deadline, lambda: self._counted(count), _forget)
        except Exception as error:  # noqa: BLE001 - Whatever the reason is, the number is not known.
            _log.debug("the queue %s cannot be looked at: %s", self._place.where, self._place.reason(error))
            return None

    def _counted(self, count: Callable[[Line], int]) -> int:
        line = self._idle_line() or self._connect(self._place)
        try:
            found = count(line)
        except BaseException:
            line.drop()
            raise
        self._give_back(line)
        return found

    def _idle_line(self) -> Line | None:
        if self._pid != os.getpid():
            _INHERITED.append(self._idle)
            self._idle, self._pid = deque(), os.getpid()
        while True:
            try:
                line = self._idle.pop()
            except IndexError:
                return None
            if not line.stale:
                return line
            line.drop()

    def _give_back(self, line: Line) -> None:
        if self._closed or len(self._idle) >= _MOST_IDLE:
            line.drop()
        else:
            self._idle.append(line)

    def _drop_idle(self) -> None:
        while (line := self._idle_line()) is not None:
            line.drop()

    def _explained(self, error: Exception) -> BrokerError:
        return BrokerError(
            f"The fire was not put on the queue {self._place.where}: {self._place.reason(error)}.",
            hint="Is the server up, and are its address and password right?", field="broker.url",
        )  # fmt: skip


def _forget(nothing: object) -> None:
    """What came too late is of no use to anybody."""
