"""`ChronosCronScheduler`: NAS holds one alarm a job and wakes us by it, so that this process may be gone meanwhile."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from hermes_cron.clock import monotonic
from hermes_cron.contract import CALL_DEADLINE_S
from hermes_cron.errors import ConfigError, HermesCronError, StoreError
from hermes_cron.interfaces import Broker, Reconciled, Store
from hermes_cron.providers.chronos.armer import Armer
from hermes_cron.providers.chronos.background import BackgroundArmer
from hermes_cron.providers.chronos.backoff import Backoff
from hermes_cron.providers.chronos.client import NasClient
from hermes_cron.providers.chronos.ladder import Ladder
from hermes_cron.providers.chronos.reconcile import Reconciler
from hermes_cron.providers.chronos.standing import Standing
from hermes_cron.providers.chronos.token import token_source
from hermes_cron.settings import ChronosSettings

START_S = 5.0
"""Seconds that the reconcile of a start may take; the rest is done in the background."""
RECONCILE_S = 120.0
_LOOK_S = 30.0
_LAST_S = 3.0
_LEAST_S = 0.5
_log = logging.getLogger("hermes_cron.chronos")


class ChronosCronScheduler:
    """Arms fires with NAS. `attach` it to a store for one command, or `start` it to serve a process.

    `client` is how NAS is called: by default over HTTP, as the settings say.
    """

    name = "chronos"
    confirms = True

    def __init__(self, settings: ChronosSettings, client: NasClient | None = None) -> None:
        self._settings = settings
        self._token = token_source(settings)
        self._backoff = Backoff()
        standing = Standing(self._token.stamp)
        self._client = client or NasClient(settings.portal_url, settings.callback_url, self._token, standing)
        self._ladder = Ladder(settings.ladder)
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._armer: Armer | None = None
        self._background: BackgroundArmer | None = None

    def missing(self) -> Sequence[str]:
        """The settings that are missing, or lead to nothing."""
        gone = [key for key in ("portal_url", "callback_url") if not getattr(self._settings, key)]
        if not self._token.configured():
            gone.append(self._token_key())
        return [f"cron.chronos.{key}" for key in gone]

    def is_available(self) -> bool:
        """Whether NAS's address, ours and a token are configured. Opens no connection (I8)."""
        return not self.missing()

    def attach(self, store: Store) -> None:
        """Work for this store from now on: enough for a one-off command. Opens nothing, starts nothing."""
        self._store = store
        self._armer = Armer(store, self._client, self._backoff)

    def start(self, store: Store, broker: Broker) -> None:
        """Attach, reconcile fully, leave a thread behind that goes on trying what is wanted, and return (I9)."""
        self.stop()
        self.attach(store)
        self._backoff.forgive()
        self._client.standing.forgive()
        looked = self._look(monotonic() + START_S)
        background = BackgroundArmer(
            store, self._serving()[1], self._backoff, self._client,
            push_ladder=self._push_ladder, look=lambda: self._look(monotonic() + _LOOK_S),
        )  # fmt: skip
        with self._lock:
            self._background = background
        background.start(looked=looked)

    def stop(self) -> None:
        """End the thread, after one last try for what is still wanted. Stopping twice is stopping once."""
        with self._lock:
            background, self._background = self._background, None
        if background is not None:
            until = monotonic() + _LAST_S
            background.stop()
            self._last_try(max(until, monotonic() + _LEAST_S))
        self._client.close()

    def arm(self, job_id: str, within: float) -> bool:
        """Make what the store wants of this id true at NAS; False when it is still wanted after so many seconds."""
        _, armer = self._serving()
        found = armer.settle([job_id], monotonic() + within)
        self._nudge()
        return not found.wanted

    def on_jobs_changed(self, job_ids: Collection[str]) -> Collection[str]:
        """Arm or disarm what these changes made wanted, and the ladder; the ids that are still wanted (I11)."""
        _, armer = self._serving()
        until = monotonic() + CALL_DEADLINE_S
        ids = list(dict.fromkeys(job_ids))
        try:
            ids += self._push_ladder()
        except StoreError as error:
            _log.warning("the ladder cannot be moved: %s", error)
        found = armer.settle(ids, until)
        if found.wanted:
            self._nudge()
        return found.wanted

    def reconcile(self, full: bool = False, cancel_orphans: bool = False) -> Reconciled:
        """Arm what is wanted, disarm what is not; `full` also repairs what NAS forgot or kept."""
        store, armer = self._serving()
        self._push_ladder()
        reconciler = Reconciler(store, self._client, armer, monotonic() + RECONCILE_S)
        found = reconciler.run_full(cancel_orphans=cancel_orphans) if full else reconciler.run()
        self._nudge()
        return found

    def held(self) -> Mapping[str, datetime | None]:
        """What NAS holds, by id. An unreadable instant is None.

        Raises:
            NasError: It cannot be asked.
        """
        return self._client.armed(monotonic() + RECONCILE_S)

    def _look(self, until: float) -> bool:
        """Reconcile fully before `until`; whether NAS's list was seen through."""
        store, armer = self._serving()
        reconciler = Reconciler(store, self._client, armer, until)
        try:
            self._push_ladder()
            self._ladder.shorten(store)
            found = reconciler.run_full(cancel_orphans=False)
        except HermesCronError as error:
            _log.warning("what NAS holds could not be reconciled with the store: %s", error)
            return False
        _log.info(
            "reconciled with NAS: %d armed, %d disarmed, %d orphans, %d still wanted",
            len(found.armed), len(found.disarmed), len(found.orphans), len(found.wanted),
        )  # fmt: skip
        return reconciler.looked

    def _push_ladder(self) -> list[str]:
        store, _ = self._serving()
        # Only what is known of NAS by now: the ladder is moved without waiting for anything.
        return self._ladder.push(store, self._client.known.horizon)

    def _last_try(self, until: float) -> None:
        store, armer = self._serving()
        try:
            self._push_ladder()
            found = armer.settle(store.wanted(10_000), until)
        except StoreError as error:
            _log.warning("what is wanted of NAS is not known at the end of this process: %s", error)
            return
        if found.wanted:
            _log.warning("this process ends while %d alarms are not confirmed by NAS", len(found.wanted))

    def _nudge(self) -> None:
        background = self._background
        if background is not None:
            background.nudge()

    def _serving(self) -> tuple[Store, Armer]:
        if self._store is None or self._armer is None:
            raise ConfigError("The chronos provider is attached to no store.", hint="Call attach or start first.")
        return self._store, self._armer

    def _token_key(self) -> str:
        return (
            "access_token_file"
            if self._settings.access_token_file
            else ("access_token_command" if self._settings.access_token_command else "access_token")
        )
