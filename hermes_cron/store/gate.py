"""`Gate`: who is inside a database's connections. A fork waits until nobody is, so that no child inherits one.

A SQLite connection that is open across a fork takes the locks of the parent for its own in the child, and two
processes on one PostgreSQL connection read each other's answers.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from types import TracebackType

_GATES: weakref.WeakSet[Gate] = weakref.WeakSet()
_WAIT_S = 3.0


class Gate:
    """Counts who is inside (`with gate:`); at a fork it lets nobody in, waits for the last one out, then `shut`s."""

    def __init__(self, shut: Callable[[], None], abandon: Callable[[], None]) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._clear = False
        self._shut = shut
        self._abandon = abandon
        _GATES.add(self)

    def __enter__(self) -> None:
        with self._changed:
            self._inside += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def before_fork(self) -> None:
        """Hold the gate, and close what is open; after `_WAIT_S` the fork goes ahead, and the child abandons it."""
        self._changed.acquire()
        self._clear = self._changed.wait_for(lambda: self._inside == 0, timeout=_WAIT_S)
        if self._clear:
            self._shut()

    def after_in_parent(self) -> None:
        """Open the gate again."""
        self._changed.release()

    def after_in_child(self) -> None:
        """Start with nobody inside: the threads that were are not in the child."""
        if not self._clear:
            self._abandon()
        self._inside = 0
        self._changed = threading.Condition(threading.Lock())


_held: list[Gate] = []
_forking = threading.Lock()


def _before() -> None:
    _forking.acquire()
    _held[:] = list(_GATES)
    for gate in _held:
        gate.before_fork()


def _in_parent() -> None:
    for gate in _held:
        gate.after_in_parent()
    _held.clear()
    _forking.release()


def _in_child() -> None:
    for gate in _held:
        gate.after_in_child()
    _held.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
