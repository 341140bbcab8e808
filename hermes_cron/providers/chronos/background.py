"""`BackgroundArmer`: while this process lives, a thread goes on trying what is wanted; it wakes no process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from hermes_cron.clock import monotonic
from hermes_cron.contract import CALL_DEADLINE_S
from hermes_cron.errors import HermesCronError, NasRefused
from hermes_cron.interfaces import Store
from hermes_cron.providers.chronos.armer import Armer
from hermes_cron.providers.chronos.backoff import Backoff
from hermes_cron.providers.chronos.client import NasClient

POLL_S = 4.0
"""How often the store is asked for what others made wanted."""

_CHUNK = 500
_ROUND_S = 4.0
_LEAST_S = 0.02
_JOIN_S = 3.5
_LONGEST_LOOK_S = 60.0
_LADDER_S = 1.0
_TOKEN_AGAIN_S = 60.0
_log = logging.getLogger("hermes_cron.chronos")


class BackgroundArmer:
    """Tries again what is wanted, and does what must not stand in anybody's way. `start` and `stop` are called once.

    `look` is a full reconcile, which tells whether it was seen through; `push_ladder` moves the sentinels on.
    """

    def __init__(
        self, store: Store, armer: Armer, backoff: Backoff, client: NasClient, *,
        push_ladder: Callable[[], Sequence[str]], look: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._store = store
        self._armer = armer
        self._backoff = backoff
        self._client = client
        self._push_ladder = push_ladder
        self._look = look
        self._to_look = False
        self._look_at = 0.0
        self._ladder_at = 0.0
        self._token_at = 0.0
        self._stamp = client.standing.stamp()
        self._looks = 0
        self._moved = threading.Event()
        self._nudged = threading.Event()
        self._stopping = threading.Event()
        self._store_lost = False
        self._thread = threading.Thread(target=self._run, name="hermes-cron-armer", daemon=True)

    def start(self, *, looked: bool) -> None:
        """Begin; what `looked` says was not seen through is done as soon as NAS answers."""
        self._to_look = not looked
        self._thread.start()

    def stop(self) -> None:
        """End the thread. What it is doing has some seconds; nothing new is begun."""
        self._stopping.set()
        self._nudged.set()
        self._thread.join(_JOIN_S)

    def nudge(self) -> None:
        """Something has fired or changed: the ladder may be behind, or a call has failed."""
        self._moved.set()
        self._nudged.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._nudged.clear()
            pause = POLL_S
            try:
                pause = self._round()
                self._store_lost = False
            except HermesCronError as error:
                if not self._store_lost:
                    _log.warning("what is wanted of NAS cannot be looked up: %s", error)
                self._store_lost = True
            except Exception:  # noqa: BLE001 - I11 rests on this thread.
                _log.exception("the background armer failed; it goes on")
            self._nudged.wait(min(POLL_S, max(_LEAST_S, pause)))

    def _round(self) -> float:
        """One look at what is wanted; the seconds until the next."""
        self._follow_ladder()
        if self._refused():
            return POLL_S
        pause = self._backoff.wait()
        if pause > 0:
            return pause
        if self._to_look and monotonic() >= self._look_at:
            self._to_look = not self._look()
            self._looks += 1
            self._look_at = monotonic() + min(_LONGEST_LOOK_S, POLL_S * 2 ** min(self._looks, 8))
        pause = self._arm_wanted()
        return min(pause, _LADDER_S) if self._moved.is_set() else pause

    def _follow_ladder(self) -> None:
        # Many fires in one second move it once; `stop` moves it a last time.
        if not self._moved.is_set() or monotonic() < self._ladder_at:
            return
        self._moved.clear()
        self._ladder_at = monotonic() + _LADDER_S
        try:
            self._push_ladder()
        except HermesCronError:
            self._moved.set()
            raise

    def _refused(self) -> bool:
        """Whether no call may be made now. A credential that was replaced opens everything again."""
        standing = self._client.standing
        objection = standing.objection()
        if isinstance(objection, NasRefused) and monotonic() >= self._token_at:
            self._token_at = monotonic() + _TOKEN_AGAIN_S
            self._client.renew_token(CALL_DEADLINE_S)
            objection = standing.objection()
        stamp = standing.stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            self._backoff.forgive()
        return objection is not None

    def _arm_wanted(self) -> float:
        most = _CHUNK + len(self._backoff)
        wanted = self._store.wanted(most)
        if len(wanted) < most:
            self._backoff.keep_only(set(wanted))
        ready = [job_id for job_id in wanted if self._backoff.ready(job_id)]
        # While NAS is away one call is enough to see it come back.
        ready = ready[:1] if self._backoff.down else ready[:_CHUNK]
        if not ready:
            return self._backoff.next_ready()
        found = self._armer.settle_free(ready, monotonic() + _ROUND_S)
        if any(not job_id.startswith("_") for job_id in (*found.armed, *found.disarmed)):
            self._moved.set()
        return self._backoff.wait() if found.away else _LEAST_S
