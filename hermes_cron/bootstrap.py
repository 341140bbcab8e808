"""Join the pieces, once: which room stands behind which seam is known here alone.

Nothing here connects to anything; what it makes connects at its first use.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from hermes_cron.apikeys import KeyRing
from hermes_cron.app import HermesCron
from hermes_cron.capture import Capture, recorded
from hermes_cron.client import Client
from hermes_cron.clock import utc_now
from hermes_cron.config import Config, secrets_in
from hermes_cron.errors import ConfigError, HermesCronError
from hermes_cron.execution import execute
from hermes_cron.fire import Fire
from hermes_cron.firing import Execute, Firing
from hermes_cron.handover import Load
from hermes_cron.interfaces import Broker, CronScheduler, FireVerifier, Store
from hermes_cron.leases import GRACE_S, Leases, end_process
from hermes_cron.ledger import Keep
from hermes_cron.loading import all_tasks, load_app
from hermes_cron.pool import STOP_S, Pool
from hermes_cron.providers import configured_cron_scheduler, resolve_cron_scheduler
from hermes_cron.rules.claim import Claimer
from hermes_cron.store import open_store
from hermes_cron.task import Task
from hermes_cron.transport import is_shared, open_broker
from hermes_cron.trimming import Trimmer
from hermes_cron.verify import get_fire_verifier, refuse_all
from hermes_cron.worker import FireDue, Worker

_log = logging.getLogger("hermes_cron.bootstrap")


def the_store(config: Config) -> Store:
    """The configured store."""
    return open_store(config.settings.store.url)


def the_broker(config: Config) -> Broker:
    """The configured broker."""
    broker = config.settings.broker
    return open_broker(broker.url, broker.queue, signing_key_file=broker.signing_key_file)


def the_verifier(config: Config) -> FireVerifier:
    """The configured verifier; where nobody is to call us, one that refuses every token (I3).

    Raises:
        ConfigError: Fires are to be verified, and what it takes is missing.
    """
    cron = config.settings.cron
    if cron.verifier == "nas-jwt" and not cron.chronos.portal_url and cron.provider in ("", "builtin"):
        return refuse_all
    return get_fire_verifier(cron, home=config.home)


def require_shared(config: Config, command: str) -> None:
    """Refuse a queue that ends at this process's border.

    Raises:
        ConfigError: `memory://` cannot join two processes; it says the two ways out.
    """
    if not is_shared(config.settings.broker.url):
        raise ConfigError(
            f"broker.url is memory://, which joins web and worker of one process only; `{command}` is a process of "
            "its own.",
            hint="Either run `hermes-cron serve` (both in one process), or set broker.url to redis://... for all.",
            field="broker.url",
        )


def open_client(config: Config, app: HermesCron | None = None) -> Client:
    """The door to jobs for a one-off command: never another trigger than the configured one (I7).

    Raises:
        ConfigError, ProviderError: The configured provider is unusable.
    """
    url, bell = config.settings.broker.url, None
    if is_shared(url):
        # Opened at the first ring only: most commands need no queue.
        bell = partial(_ring, config)
    scheduler = configured_cron_scheduler(config.settings.cron, home=config.home)
    tasks = all_tasks(config.settings.tasks, app)
    return Client(the_store(config), scheduler, tasks, bell=bell, timezone=config.settings.cron.timezone)


def web_client(config: Config, broker: Broker, store: Store) -> Client:
    """The door to jobs of a web process, over what it has open; the application is loaded here, at the first request.

    Raises:
        ConfigError, ProviderError: The application or the configured provider is unusable.
    """
    scheduler = configured_cron_scheduler(config.settings.cron, home=config.home)
    tasks = all_tasks(config.settings.tasks, load_app(config.settings.app))
    return Client(store, scheduler, tasks, bell=broker.enqueue, timezone=config.settings.cron.timezone)


def the_api_keys(config: Config) -> KeyRing | None:
    """The keys that open API and dashboard; None where these answer this machine alone.

    Raises:
        ConfigError: The file cannot be used.
    """
    file = config.settings.web.api_keys_file
    return KeyRing(Path(file).expanduser()) if file else None


def _ring(config: Config, fire: Fire) -> None:
    broker = the_broker(config)
    try:
        broker.enqueue(fire)
    finally:
        broker.close()


@dataclass(frozen=True, slots=True)
class Crew:
    """A worker with all that lives beside it in a process, to be started and stopped as one."""

    store: Store
    broker: Broker
    scheduler: CronScheduler
    worker: Worker
    leases: Leases
    client: Client
    declare: Callable[[], None]
    pool: Pool | None = None
    capture: Capture | None = None
    trimmer: Trimmer | None = None
    _started: threading.Event = field(default_factory=threading.Event)

    def busy(self) -> int:
        """How many fires are in its hands, and whether it is still starting."""
        return self.worker.busy() + (not self._started.is_set())

    def start(self) -> None:
        """Start everything, and return at once: the first fire must not wait for NAS's list (I9)."""
        self.scheduler.attach(self.store)
        self.leases.start()
        if self.pool is not None:
            self.pool.start()
        if self.capture is not None:
            self.capture.start()
        if self.trimmer is not None:
            self.trimmer.start()
        self.worker.start()
        threading.Thread(target=self._start_provider, name="hermes-cron-provider", daemon=True).start()

    def stop(self) -> None:
        """Drain, arm what is still wanted if NAS answers, and give everything back."""
        self.worker.stop()
        if self.trimmer is not None:
            self.trimmer.stop()
        if self.pool is not None:
            self.pool.stop()
        self.scheduler.stop()
        self.leases.stop()
        if self.capture is not None:
            self.capture.stop()
        self.broker.close()
        self.store.close()

    def _start_provider(self) -> None:
        try:
            self.declare()
            self.scheduler.start(self.store, self.broker)
        except Exception:  # noqa: BLE001 - a worker without its provider still sweeps; that is better than none.
            _log.exception("the provider %s could not be started", self.scheduler.name)
        finally:
            self._started.set()


def make_crew(config: Config, app: HermesCron | None, *, store: Store, broker: Broker) -> Crew:
    """The worker of this process, joined to its seams; always with a trigger (I7).

    Raises:
        ConfigError, ProviderError: The provider is unusable, and `cron.fallback` is `fail`.
    """
    settings = config.settings
    tasks = all_tasks(config.settings.tasks, app)
    scheduler = resolve_cron_scheduler(settings.cron, home=config.home)
    lease = timedelta(seconds=settings.worker.lease_seconds)
    pool = _pool(config, tasks) if settings.worker.pool == "processes" else None
    # A body in this process can only be ended with it; one in a process of its own is killed.
    leases = Leases(store, lease, give_up=end_process if pool is None else pool.kill_lost)
    firing = Firing(
        store, broker, scheduler, Claimer(_worker_name(), lease), leases.keep,
        _in_threads(config, tasks) if pool is None else pool.execute, lambda: worker.awake(),  # noqa: PLW0108 - the worker is made below.
    )  # fmt: skip
    keep = Keep(settings.store.keep_fires, timedelta(days=settings.store.keep_days))
    trimmer = Trimmer(store, keep, lambda: worker.busy())  # noqa: PLW0108 - the worker is made below.
    worker = Worker(
        store, broker, scheduler, _noted(firing.fire_due, trimmer), leases.ask_all,
        concurrency=settings.worker.concurrency, drain=timedelta(seconds=settings.worker.drain_seconds),
        grace=timedelta(seconds=GRACE_S if pool is None else STOP_S),
    )  # fmt: skip
    client = Client(store, scheduler, tasks, bell=broker.enqueue, timezone=settings.cron.timezone)
    capture, declare = Capture() if pool is None else None, partial(_declare, client, app)
    return Crew(store, broker, scheduler, worker, leases, client, declare, pool, capture, trimmer)


def _noted(fire_due: FireDue, trimmer: Trimmer) -> FireDue:
    def seen_through(fire: Fire, ack: Callable[[], None]) -> float | None:
        wait = fire_due(fire, ack)
        if wait is None:
            trimmer.note()
        return wait

    return seen_through


def _in_threads(config: Config, tasks: Mapping[str, Task]) -> Execute:
    return recorded(lambda run, sign: execute(run, tasks, sign, utc_now), utc_now, secrets_in(config.settings))


def _pool(config: Config, tasks: Mapping[str, Task]) -> Pool:
    settings = config.settings
    load = Load(settings.app, settings.tasks, logging.getLogger().getEffectiveLevel())
    return Pool(load, tasks, settings.worker.concurrency, hide=secrets_in(settings))


def _declare(client: Client, app: HermesCron | None) -> None:
    if app is None:
        return
    for declared in app.jobs.values():
        # One job that cannot be kept harms no other (I17).
        try:
            client.declare([declared])
        except HermesCronError as error:
            _log.error("the job %s of the app %s is not kept: %s", declared.id, app.name, error)


def _worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
