"""NAS's keys, from the URL where it publishes them: fetched seldom, kept, refreshed ahead, never at the mercy of it.

All fetches run in a thread of their own, one at a time, with a pause between them that counts failures, so that
neither a flood of unknown key ids nor a slow host can make more of them. Nothing is started before the first use.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hermes_cron.clock import Clock, utc_now
from hermes_cron.errors import ConfigError, KeysUnavailable, OutboundError, TokenRejected
from hermes_cron.outbound import Outbound, any_address
from hermes_cron.verify import kept
from hermes_cron.verify.keys import Key, fitting, read_jwks
from hermes_cron.verify.objects import read_loose_object
from hermes_cron.verify.reasons import Reason

log = logging.getLogger(__name__)

REFRESH_S = 5 * 60
"""A set older than this is fetched anew, in the background, when it is next used."""

MAX_AGE_S = 24 * 60 * 60
"""A set older than this is not used."""

PAUSE_S = 10
"""Seconds between two fetches, failed ones counted."""

WAIT_S = 2.0
"""Seconds that a token waits for a fetch."""

FETCH_S = 5.0
"""Seconds a fetch may take in all; one that outlives the waiting still fills the cache for the next token."""

WAITING = 4
"""Tokens with an unknown key id that may wait at a time; the threads of a web process are for known ones first."""

MAX_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class _Set:
    keys: tuple[Key, ...]
    fetched_at: datetime

    def age(self, now: datetime) -> float:
        # A clock that was set back makes a set old, not young for ever.
        age = (now - self.fetched_at).total_seconds()
        return age if age > -60 else MAX_AGE_S + 1.0

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """The keys a token may be signed with; none where a newer set may know better."""
        known = [key for key in self.keys if kid is None or key.kid == kid]
        return fitting(known, kid, algorithm) if known else ()


class JwksKeys:
    """The keys published at a URL. May be used from any thread, and across a fork."""

    def __init__(
        self,
        url: str,
        *,
        home: Path | None = None,
        clock: Clock = utc_now,
        wait: float = WAIT_S,
        deadline: float = FETCH_S,
    ) -> None:
        self._url = url
        # The query is where people put secrets.
        self._shown = url.partition("?")[0]
        self._waits = wait
        self._deadline = deadline
        self._loopback = _check(url)
        self._place = None if home is None else kept.place_of(home, url)
        self._clock = clock
        self._set: _Set | None = None
        self._loaded = False
        self._after_fork()
        _ALL.add(self)

    def _after_fork(self) -> None:
        # A child has none of its parent's threads: a fetch in flight and a lock that was held never end in it.
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(WAITING)
        self._flight: threading.Event | None = None
        self._tried_at: datetime | None = None
        self._failed = False

    def ready(self) -> bool:
        """Whether there are keys to judge a token with; where there are none, it has them fetched for the next time."""
        return self._current() is not None

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """The keys that a token with this `kid` and `alg` may be signed with; an unknown `kid` is looked up once.

        Raises:
            TokenRejected: There is none, not even in a set fetched just now.
            KeysUnavailable: That cannot be told now.
        """
        held = self._current()
        found = () if held is None else held.find(kid, algorithm)
        if found:
            return found
        self._wait(held)
        held = self._set
        found = () if held is None else held.find(kid, algorithm)
        if not found:
            raise TokenRejected(Reason.UNKNOWN_KEY)
        return found

    def _current(self) -> _Set | None:
        with self._lock:
            if not self._loaded:
                self._loaded = True
                self._load()
        held, now = self._set, self._clock()
        if held is not None and held.age(now) > MAX_AGE_S:
            held = None
        if held is None or held.age(now) > REFRESH_S:
            self._begin()
        return held

    def _begin(self) -> threading.Event | None:
        """The fetch in flight, started if need be; None while the pause lasts."""
        with self._lock:
            if self._flight is not None:
                return self._flight
            if self._tried_at is not None and 0 <= (self._clock() - self._tried_at).total_seconds() < PAUSE_S:
                return None
            self._tried_at, flight = self._clock(), threading.Event()
            thread = threading.Thread(target=self._fetch, args=(flight,), name="hermes-cron-jwks", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self._failed = True
                return None
            self._flight = flight
            return flight

    def _wait(self, held: _Set | None) -> None:
        """Wait until the set is as new as the pause allows.

        Raises:
            KeysUnavailable: It could not be fetched, or not in time.
        """
        flight = self._begin()
        if flight is not None:
            # Where no key is held nobody can be judged, so all wait.
            queue = nullcontext(True) if held is None else self._queue()
            with queue as may_wait:
                if not may_wait:
                    raise KeysUnavailable(
                        "NAS's keys are being fetched, and enough tokens wait for them", retry_after=1
                    )
                if not flight.wait(self._waits):
                    raise KeysUnavailable("NAS's keys did not come in time")
        if self._failed:
            raise KeysUnavailable("NAS's keys cannot be fetched", retry_after=PAUSE_S)

    @contextmanager
    def _queue(self) -> Iterator[bool]:
        places = self._places
        got = places.acquire(blocking=False)
        try:
            yield got
        finally:
            if got:
                places.release()

    def _fetch(self, flight: threading.Event) -> None:
        failed = True
        try:
            asked_at = self._clock()
            self._replace(self._download(), asked_at)
            failed = False
        except (OutboundError, ValueError) as error:
            log.warning("the keys at %s could not be fetched: %s", self._shown, error)
        except Exception:  # the thread's last word; those who wait for it are told below.
            log.exception("the keys at %s could not be fetched", self._shown)
        finally:
            with self._lock:
                self._failed, self._tried_at, self._flight = failed, self._clock(), None
            flight.set()

    def _download(self) -> dict[str, Any]:
        outbound = Outbound(_is_loopback if self._loopback else any_address, connections=1)
        try:
            answer = outbound.request("GET", self._url, deadline=self._deadline, max_bytes=MAX_BYTES + 1)
        finally:
            outbound.close()
        if answer.status != 200:
            raise ValueError(f"the answer was {answer.status}")
        if len(answer.body) > MAX_BYTES:
            raise ValueError(f"the answer is longer than {MAX_BYTES} bytes")
        return read_loose_object(answer.body)

    def _replace(self, document: dict[str, Any], fetched_at: datetime) -> None:
        keys, before = read_jwks(document), self._set
        self._set = _Set(keys, fetched_at)
        new = {key.kid for key in keys} - {key.kid for key in before.keys} if before is not None else set()
        if new:
            log.warning("new keys at %s: %s", self._shown, ", ".join(sorted(repr(kid)[:80] for kid in new)))
        if self._place is not None:
            try:
                kept.save(self._place, self._url, document, fetched_at)
            except OSError as error:
                log.warning("the keys of NAS cannot be kept on disk: %s", error)

    def _load(self) -> None:
        if self._place is None:
            return
        try:
            document, fetched_at = kept.load(self._place, self._url)
            self._set = _Set(read_jwks(document), fetched_at)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.warning("the keys of NAS kept on disk are not used: %s", error)


_ALL: weakref.WeakSet[JwksKeys] = weakref.WeakSet()


def _renew_all() -> None:
    for keys in list(_ALL):
        keys._after_fork()


os.register_at_fork(after_in_child=_renew_all)


def _is_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback


def _check(url: str) -> bool:
    """Whether this is a plain http URL, which only a loopback host may have.

    Raises:
        ConfigError: It is not a URL that keys may come from.
    """
    field = "cron.chronos.nas_jwks_url"
    try:
        parts = urlsplit(url)
        scheme, host, credentials = parts.scheme, parts.hostname, "@" in parts.netloc
    except ValueError:
        scheme, host, credentials = "", None, False
    if host and not credentials and (scheme == "https" or (scheme == "http" and _names_loopback(host))):
        return scheme == "http"
    raise ConfigError(
        f"{field} must be an https:// URL without credentials.", field=field,
        hint="Whoever can change what comes over plain http could sign fires; it is for loopback only.",
    )  # fmt: skip


def _names_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
