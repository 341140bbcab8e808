"""What `doctor` looks at, in the order in which things depend on each other. It changes nothing."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from hermes_cron import bootstrap, views
from hermes_cron.cli.session import Session
from hermes_cron.cli.show import span_words
from hermes_cron.clock import monotonic, utc_now
from hermes_cron.config import Config
from hermes_cron.config_check import check as problems_of
from hermes_cron.errors import HermesCronError
from hermes_cron.interfaces import CronScheduler, Store
from hermes_cron.loading import all_tasks
from hermes_cron.logs import one_line
from hermes_cron.providers import configured_cron_scheduler
from hermes_cron.record import Record
from hermes_cron.tasks import off
from hermes_cron.transport import is_shared
from hermes_cron.verify import refuse_all

OK, WARN, FAIL = "ok", "warn", "fail"
_LATE = timedelta(seconds=60)
_CLOCK_S = 2.0
_KEYS_S = 6.0
_POLL_S = 0.1
_RECONCILE = "hermes-cron arms reconcile"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to: `ok`, `warn` or `fail`, what was seen, and what to do about it."""

    state: str
    check: str
    what: str
    to_do: str = ""


Findings = Iterator[Finding]


def examine(session: Session, *, network: bool) -> Findings:
    """Everything that can be looked at, each check for itself: what one of them meets stops no other.

    Only with `network` is anything asked of NAS; store and queue always are.
    """
    yield from _guarded("configuration", lambda: _configuration(session))
    try:
        config = session.config
    except HermesCronError:
        return
    yield from _guarded("home", lambda: _home(config))
    yield from _guarded("app", lambda: _app(session))
    yield from _guarded("provider", lambda: _provider(config))
    yield from _guarded("verifier", lambda: _verifier(config))
    yield from _guarded("queue", lambda: _queue(config))
    if network:
        yield from _guarded("keys", lambda: _keys(config))
    try:
        store = bootstrap.the_store(config)
    except HermesCronError as error:
        yield Finding(FAIL, "store", error.message, error.hint)
        return
    with _overheard("hermes_cron.store") as warned:
        looked = _guarded("store", lambda: _store(store))
    yield from looked
    yield from [Finding(WARN, "store", words, "docs/stores.md has the settings.") for words in warned]
    if any(finding.state == FAIL for finding in looked):
        # What is kept in it cannot be looked at then; saying so once is enough.
        return
    yield from _guarded("jobs", lambda: _jobs(session, store))
    yield from _guarded("work", lambda: _work(store))
    yield from _guarded("arms", lambda: _arms(config, store))
    if network:
        yield from _guarded("NAS", lambda: _nas(config, store))
    store.close()


@contextmanager
def _overheard(name: str) -> Iterator[list[str]]:
    """What is warned of meanwhile, and said nowhere else: a store says so when it is first used, and only then."""
    heard: list[str] = []
    log, listener = logging.getLogger(name), logging.Handler(logging.WARNING)
    listener.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]  # as it is meant.
    before = log.level, log.propagate
    log.addHandler(listener)
    log.setLevel(logging.WARNING)
    log.propagate = False
    try:
        yield heard
    finally:
        log.removeHandler(listener)
        log.setLevel(before[0])
        log.propagate = before[1]


def _guarded(check: str, look: Callable[[], Iterable[Finding]]) -> Sequence[Finding]:
    try:
        return list(look())
    except HermesCronError as error:
        return [Finding(FAIL, check, error.message, error.hint)]
    except Exception as error:  # noqa: BLE001 - whoever calls a doctor is helped by every other finding.
        return [Finding(FAIL, check, f"the check itself failed: {type(error).__name__}: {error}")]


def _configuration(session: Session) -> Findings:
    found = problems_of(session.config)
    for problem in found:
        yield Finding(FAIL, "configuration", problem.message, problem.hint)
    if not found:
        yield Finding(OK, "configuration", f"read from {session.config.file or 'the environment and defaults'}")


def _home(config: Config) -> Findings:
    home = config.home
    if not home.exists():
        yield Finding(OK, "home", f"{home} is made at the first use")
    elif not home.is_dir():
        yield Finding(FAIL, "home", f"{home} is no folder", "Move it away, or set HERMES_CRON_HOME.")
    elif not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(FAIL, "home", f"{home} cannot be written by this user", f"chown it, or chmod u+rwx {home}")
    elif home.stat().st_mode & 0o022:
        yield Finding(WARN, "home", f"{home} can be written by other users", f"chmod go-w {home}")
    else:
        yield Finding(OK, "home", str(home))


def _app(session: Session) -> Findings:
    tasks = all_tasks(session.config.settings.tasks, session.app)
    named = session.config.settings.app
    names = ", ".join(sorted(tasks)[:10]) + (", ..." if len(tasks) > 10 else "")
    yield Finding(OK, "app", f"{named or 'none named'}; {len(tasks)} tasks: {names}")


def _provider(config: Config) -> Findings:
    cron = config.settings.cron
    try:
        scheduler = configured_cron_scheduler(cron, home=config.home)
    except HermesCronError as error:
        if cron.fallback == "fail":
            raise
        words = f"{error.message} Services fall back to the built-in provider; commands that change jobs fail."
        yield Finding(WARN, "provider", words, error.hint)
        return
    sleeps = "it may sleep at zero" if scheduler.confirms else "a worker must stay up, as nobody outside wakes it"
    yield Finding(OK, "provider", f"{scheduler.name}: {sleeps}")


def _verifier(config: Config) -> Findings:
    if bootstrap.the_verifier(config) is refuse_all:
        yield Finding(OK, "verifier", "every fire from outside is refused, as no NAS is configured")
    else:
        yield Finding(OK, "verifier", f"{config.settings.cron.verifier}, and all it needs is configured")


def _store(store: Store) -> Findings:
    apart = (store.now() - utc_now()).total_seconds()
    if abs(apart) > _CLOCK_S:
        words = f"its clock is {span_words(abs(apart))} {'ahead of' if apart > 0 else 'behind'} this machine's"
        yield Finding(WARN, "store", words, "Let both keep time by NTP; jobs follow the store's clock.")
    else:
        yield Finding(OK, "store", "it answers, and its clock is this machine's")
    if store.stopped():
        yield Finding(WARN, "store", "everything is stopped, so nothing fires", "hermes-cron start")


def _queue(config: Config) -> Findings:
    if not is_shared(config.settings.broker.url):
        yield Finding(OK, "queue", "memory://, which joins web and worker of one process only: `hermes-cron serve`")
        return
    broker = bootstrap.the_broker(config)
    try:
        depth = broker.depth()
    finally:
        broker.close()
    if depth is None:
        yield Finding(FAIL, "queue", "it does not answer", "Look at broker.url, and whether its server runs.")
    else:
        yield Finding(OK, "queue", f"it answers; {depth} messages in it")


def _jobs(session: Session, store: Store) -> Findings:
    jobs = [record.job for record in store.jobs() if record.job is not None]
    tasks = all_tasks(session.config.settings.tasks, session.app)
    yield Finding(OK, "jobs", f"{len(jobs)} in the store")
    if lost := [job.id for job in jobs if job.task not in tasks]:
        to_do = "Name the app that has their tasks with -A, here and for the worker."
        yield Finding(WARN, "jobs", f"their tasks are not known here: {_some(lost)}", to_do)
    disabled = off(session.config.settings.tasks)
    for task in sorted({job.task for job in jobs} & disabled.keys()):
        names, to_do = [job.id for job in jobs if job.task == task], f"Set {disabled[task]}, here and for the worker."
        yield Finding(WARN, "jobs", f"the task {task} is off here, so these fail: {_some(names)}", to_do)
    if failing := [job for job in jobs if job.failures_in_row]:
        names = [f"{job.id} ({job.failures_in_row}x)" for job in failing]
        to_do = f"hermes-cron runs list {failing[0].id}"
        yield Finding(WARN, "jobs", f"failed the last time: {_some(names)}", to_do)


def _work(store: Store) -> Findings:
    load, now, late = store.load(0), store.now(), list[str]()
    for job_id in store.overdue(1000):
        wake_at = (store.read(job_id) or Record(job_id)).arm.wake_at
        if wake_at is not None and wake_at < now - _LATE:
            late.append(job_id)
    if late:
        words = f"due for over a minute, and nothing runs them: {_some(late)}"
        yield Finding(
            FAIL, "work", words, "Start a worker (`hermes-cron serve`), or look at why yours has no free slot."
        )
    if load.dead_leases:
        to_do = "A live worker takes them over within 15 s."
        yield Finding(WARN, "work", f"{load.dead_leases} runs whose worker has died", to_do)
    if not late and not load.dead_leases:
        yield Finding(OK, "work", f"{load.open_runs} runs are open, {load.waiting} fires wait, nothing is late")


def _arms(config: Config, store: Store) -> Findings:
    records = [record for record in store.arms() if record.arm.wake_at is not None or record.arm.wanted]
    if not _attached(config, store).confirms:
        kept = [record.job_id for record in records if record.arm.known and record.arm.armed_at is not None]
        if kept:
            words = f"NAS may still hold alarms from when it was the provider: {_some(kept)}"
            yield Finding(WARN, "arms", words, f"Set cron.provider to what it was, and run `{_RECONCILE}`.")
        else:
            yield Finding(OK, "arms", "nothing is armed outside: the ticker of a worker does it")
        return
    refused = Counter(record.arm.refused for record in records if record.arm.refused)
    for reason, number in refused.most_common():
        words = f"NAS refused {number} for good: {reason}"
        yield Finding(
            FAIL, "arms", words, "Look at cron.chronos.access_token and callback_url; the worker stays awake."
        )
    # The agent's own sentinels (`_wake.N`) come last: people know their jobs.
    wanted = sorted((r.job_id for r in records if r.arm.wanted), key=lambda job_id: (job_id.startswith("_"), job_id))
    if wanted and not refused:
        yield Finding(WARN, "arms", f"{len(wanted)} are wanted, not confirmed: {_some(wanted)}", _RECONCILE)
    elif not wanted:
        yield Finding(OK, "arms", f"all {len(records)} are confirmed")


def _nas(config: Config, store: Store) -> Findings:
    scheduler = _attached(config, store)
    held = scheduler.held()
    if held is None:
        yield Finding(OK, "NAS", "none is needed by this provider")
        return
    apart = [row["job_id"] for row in views.held_views(store.arms(), held, store.now()) if not row["agree"]]
    if apart:
        yield Finding(WARN, "NAS", f"it answers, but holds not what is wanted: {_some(apart)}", _RECONCILE)
    else:
        yield Finding(OK, "NAS", f"it answers, and holds {len(held)} alarms as wanted")


def _keys(config: Config) -> Findings:
    verifier = bootstrap.the_verifier(config)
    until = monotonic() + _KEYS_S
    with _overheard("hermes_cron.verify") as warned:
        # The first question looks at what was kept, and has the keys fetched; there is no event to wait for.
        ready, heard = verifier.ready(), len(warned)
        while not ready and len(warned) == heard and monotonic() < until:
            time.sleep(_POLL_S)
            ready = verifier.ready()
    if ready:
        yield Finding(OK, "keys", "a fire token could be judged now")
    else:
        why = f": {warned[-1]}" if warned else f" within {_KEYS_S:g} s"
        to_do = "Look at cron.chronos.nas_jwks_url: it must answer with a JSON key set."
        yield Finding(FAIL, "keys", f"NAS's keys cannot be had, so every fire is put off{why}", to_do)


def _attached(config: Config, store: Store) -> CronScheduler:
    scheduler = configured_cron_scheduler(config.settings.cron, home=config.home)
    scheduler.attach(store)
    return scheduler


def _some(names: Sequence[str]) -> str:
    return one_line(", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else ""))
