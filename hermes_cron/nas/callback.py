"""Where an agent may have its fires sent: an http(s) URL that leads to public addresses.

Checked when a fire is provisioned, so that a mistake is told at once; the check that counts is made at delivery, on
the address that is connected to. A name that does not resolve now is taken: it may when the fire is due, and an
agent must not lose its alarm to a look-up that failed.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from hermes_cron.clock import monotonic
from hermes_cron.errors import AddressRefused, OutboundError
from hermes_cron.outbound import Judge, resolve
from hermes_cron.settings import base_url

LOOK_UP_S = 1.0
"""How long one look-up may take, and all those of one call together; what is not known by then is taken."""

LOOK_UPS_EACH = 2
"""How many look-ups of one agent may be under way: names that hang must not take the threads of other agents' calls."""

KEPT_S = 60.0
_MOST_KEPT = 10_000
_MOST_CHARACTERS = 2000

Resolve = Callable[[str, int, Judge, float], object]


class Callbacks:
    """Judges callback URLs; `allow` None lets them lead anywhere. May be used from any thread."""

    def __init__(self, allow: Judge | None, *, look_up: Resolve = resolve, seconds: Callable[[], float] = monotonic):
        self._allow = allow
        self._look_up = look_up
        self._seconds = seconds
        self._lock = threading.Lock()
        self._good_until: dict[tuple[str, int], float] = {}
        self._looking: Counter[int] = Counter()

    def of(self, agent_id: int) -> CallbacksOfCall:
        """The judge of one call of this agent, which begins now."""
        return CallbacksOfCall(self, agent_id, self._seconds() + LOOK_UP_S)

    def check(self, url: object, agent_id: int, until: float) -> str:
        """As `CallbacksOfCall.check`; look-ups end at `until`."""
        good = base_url(url)
        if len(good) > _MOST_CHARACTERS:
            raise ValueError(f"must be at most {_MOST_CHARACTERS} characters")
        parts = urlsplit(good)
        # A dot at the end says that a name is whole; it leads where the same name leads without it.
        place = ((parts.hostname or "").rstrip("."), parts.port or (443 if parts.scheme == "https" else 80))
        if self._allow is not None and not self._known(place):
            self._resolve(place, self._allow, agent_id, until)
        return good

    def _known(self, place: tuple[str, int]) -> bool:
        with self._lock:
            return self._good_until.get(place, 0.0) > self._seconds()

    def _resolve(self, place: tuple[str, int], allow: Judge, agent_id: int, until: float) -> None:
        try:
            with self._look(agent_id) as may_look:
                if not may_look:
                    return
                self._look_up(*place, allow, max(0.0, until - self._seconds()))
        except AddressRefused as error:
            raise ValueError("must lead to public addresses only") from error
        except OutboundError:
            return
        with self._lock:
            if len(self._good_until) >= _MOST_KEPT:
                self._good_until.clear()
            self._good_until[place] = self._seconds() + KEPT_S

    @contextmanager
    def _look(self, agent_id: int) -> Iterator[bool]:
        with self._lock:
            may_look = self._looking[agent_id] < LOOK_UPS_EACH
            self._looking[agent_id] += may_look
        try:
            yield may_look
        finally:
            with self._lock:
                self._looking[agent_id] -= may_look


@dataclass(frozen=True, slots=True)
class CallbacksOfCall:
    """Judges the callback URLs of one call: its look-ups all end at one moment, and count as its agent's."""

    callbacks: Callbacks
    agent_id: int
    until: float

    def check(self, url: object) -> str:
        """The URL, without a slash at its end.

        Raises:
            ValueError: No fire may be sent there; its text is the end of a sentence that begins with the field.
        """
        return self.callbacks.check(url, self.agent_id, self.until)
