"""Consuming: a loop that takes messages while there are free slots, and survives its server.

One thread does all that concerns the connection. Acknowledgements come from any thread and are carried out here:
they are laid in a queue, and the loop is woken.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hermes_cron.clock import monotonic
from hermes_cron.errors import MessageRejected
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Delivery
from hermes_cron.transport.line import Line, Parcel, Place
from hermes_cron.transport.message import CONTENT_TYPE, decode, rejections
from hermes_cron.transport.signing import Signer
from hermes_cron.transport.waiting import Wake, within

_IDLE_S = 0.5
_TEND_S = 1.0
_FIRST_FULL_S = 0.001
_LONGEST_FULL_S = 0.02
_GRACE_S = 0.3
_CLOSE_S = 5.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_log = logging.getLogger("hermes_cron.transport")

_running: list[Consumer] = []


def reserved(place: Place) -> int:
    """How many messages of a queue the consumers of this process hold unacknowledged."""
    return sum(consumer.reserved(place) for consumer in tuple(_running))


@dataclass(slots=True)
class _Taken:
    """A delivery: a fire, and how to let the queue forget its message."""

    fire: Fire
    _parcel: Parcel
    _acked: Callable[[Parcel], None]

    def ack(self) -> None:
        self._acked(self._parcel)


class Consumer:
    """One call of `Broker.consume`."""

    def __init__(
        self, place: Place, connect: Callable[[], Line], handle: Callable[[Delivery], None], free: Callable[[], int],
        stop: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._place, self._connect = place, connect
        self._handle, self._free, self._stop = handle, free, stop
        self._wake = Wake()
        self._acks: deque[Parcel] = deque()
        self._held: set[Parcel] = set()
        self._pid = os.getpid()

    def reserved(self, place: Place) -> int:
        """How many messages it holds unacknowledged, if it is of this process and its queue is this one."""
        own = (os.getpid(), place.url, place.queue) == (self._pid, self._place.url, self._place.queue)
        return len(self._held) if own else 0

    def run(self) -> None:
        """Consume until it is to stop; a connection that is lost is made anew after a pause."""
        pause = _FIRST_PAUSE_S
        failed = False
        _running.append(self)
        try:
            while not self._stop():
                began = monotonic()
                try:
                    self._serve()
                    failed = False
                except Exception as error:  # noqa: BLE001 - Whatever a connection died of, the next one may live.
                    if monotonic() - began > _LONGEST_PAUSE_S:
                        pause, failed = _FIRST_PAUSE_S, False
                    level = logging.DEBUG if failed else logging.WARNING
                    _log.log(
                        level, "the queue %s was lost, trying again: %s", self._place.where, self._place.reason(error)
                    )
                    failed = True
                    self._sleep(random.uniform(pause / 2, pause))  # noqa: S311 - Jitter is no secret.
                    pause = min(2 * pause, _LONGEST_PAUSE_S)
        finally:
            _running.remove(self)
            self._wake.close()

    def _serve(self) -> None:
        line = within(2 * self._place.deadline, self._connect, late=Line.drop)
        try:
            self._loop(line)
            self._end(line)
        except BaseException:
            within(_CLOSE_S, line.drop, late=_forget)
            raise

    def _loop(self, line: Line) -> None:
        full, tended = _FIRST_FULL_S, monotonic()
        while not self._stop():
            self._settle(line)
            free = self._free()
            line.allow(free)
            # Nobody tells when a slot comes free, so that is looked for more and more seldom.
            full = _FIRST_FULL_S if free > 0 else min(2 * full, _LONGEST_FULL_S)
            line.wait(self._wake, 0 if line.arrived else _IDLE_S if free > 0 else full)
            while line.arrived:
                self._look_at(line, line.arrived.popleft())
            if monotonic() - tended >= _TEND_S:
                tended = monotonic()
                line.tend()

    def _look_at(self, line: Line, parcel: Parcel) -> None:
        try:
            fire = _read(parcel, self._place.signer)
        except MessageRejected as error:
            rejections[error.field or "shape"] += 1
            count = rejections.total()
            _log.warning("a message of %s is rejected (%d so far): %s", self._place.where, count, error)
            line.reject(parcel, error.message)
            return
        if self._free() < 1:
            line.put_back(parcel)
            return
        self._held.add(parcel)
        try:
            self._handle(_Taken(fire, parcel, self._acked))
        except Exception:  # noqa: BLE001 - I17: a message that is too much for its handler must not stop the others.
            _log.exception("the fire of %s could not be handled; the store still knows what is due", fire.job_id)
            self._acked(parcel)

    def _acked(self, parcel: Parcel) -> None:
        self._acks.append(parcel)
        self._wake.ring()

    def _settle(self, line: Line) -> None:
        while self._acks:
            parcel = self._acks.popleft()
            if parcel not in self._held:
                continue
            self._held.remove(parcel)
            try:
                line.ack(parcel)
            except Exception as error:  # noqa: BLE001 - The claim is decided: at worst the message comes once more.
                _log.warning(
                    "a message of %s could not be acknowledged: %s", self._place.where, self._place.reason(error)
                )

    def _end(self, line: Line) -> None:
        """Take no more, give claims that are being decided a moment to be acknowledged, and give back the rest."""
        line.allow(0)
        until = monotonic() + _GRACE_S
        while self._held and monotonic() < until:
            line.wait(self._wake, 0.05)
            self._settle(line)
            line.allow(0)
        for parcel in (*line.arrived, *self._held):
            line.put_back(parcel)
        within(_CLOSE_S, line.close, late=_forget)

    def _sleep(self, seconds: float) -> None:
        until = monotonic() + seconds
        while not self._stop() and monotonic() < until:
            time.sleep(min(0.1, seconds))


def _read(parcel: Parcel, signer: Signer | None) -> Fire:
    if parcel.content_type != CONTENT_TYPE:
        raise MessageRejected(f"its content type is not {CONTENT_TYPE}")
    if signer is not None:
        signer.check(parcel.body, parcel.signature)
    fire = decode(parcel.body)
    if signer is not None:
        signer.check_age(fire)
    return fire


def _forget(nothing: None) -> None:
    """What came too late is of no use to anybody."""
