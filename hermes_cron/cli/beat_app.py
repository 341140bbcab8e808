"""The `beat_schedule` of somebody's Celery app: the app is imported as Celery does it, and Celery only by the app."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hermes_cron.app import HermesCron
from hermes_cron.cli.beat import When, clocked_when, crontab_when, entry, interval_when, solar_when
from hermes_cron.cli.beat_cron import FIELDS
from hermes_cron.cli.foreign import Found
from hermes_cron.errors import ConfigError

_HINT = "Run this where `celery -A` works with it: in its folder, and with its packages installed beside ours."
_FILE = "Where that cannot be, give a file: `hermes-cron jobs import celery --help`."
_OWN_SCHEDULER = "celery.beat:PersistentScheduler"


def load_celery(spec: str) -> Any:
    """The Celery app that `-A` names: `proj`, `proj.celery`, `proj.celery:app`; its tasks imported, as beat does it.

    Raises:
        ConfigError: It cannot be imported, or is none.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        app = _found(spec)
        if _is_celery(app):
            # Entries are also made by code: on_after_configure and on_after_finalize hear of this.
            app.loader.import_default_modules()
            app.finalize()
            return app
    except (Exception, SystemExit) as error:
        words = f"The Celery app {spec!r} cannot be loaded: {type(error).__name__}: {error}."
        raise ConfigError(words, hint=f"{_HINT} {_FILE}", field="app") from error
    if isinstance(app, HermesCron):
        hint = "Behind `jobs import celery` -A names the Celery app; yours of here stands before `jobs`."
        raise ConfigError(f"{spec!r} is a HermesCron, and no Celery app.", hint=hint, field="app")
    raise ConfigError(f"{spec!r} is {type(app).__name__}, and no Celery app.", hint=_HINT, field="app")


def app_jobs(app: Any) -> list[Found]:
    """The jobs of an app's `beat_schedule`.

    Raises:
        ConfigError: Its configuration cannot be read.
    """
    try:
        zone, entries = _zone_of(app.conf), app.conf.beat_schedule or {}
        return [_of_entry(str(name), said, zone) for name, said in entries.items()]
    except (Exception, SystemExit) as error:
        words = f"The app's beat_schedule cannot be read: {type(error).__name__}: {error}."
        raise ConfigError(words, hint=_FILE, field="app") from error


def kept_elsewhere(app: Any) -> str:
    """What to know when the app's beat keeps more than `beat_schedule`; else nothing."""
    scheduler = str(getattr(app.conf, "beat_scheduler", "") or _OWN_SCHEDULER)
    if scheduler == _OWN_SCHEDULER:
        return ""
    words = f"its beat keeps its jobs by {scheduler}, and only beat_schedule was read."
    if "django_celery_beat" in scheduler:
        words += " The rows: manage.py dumpdata django_celery_beat | hermes-cron jobs import celery -"
    return words


def _found(spec: str) -> Any:
    """As Celery looks for it: the attribute, else `app` or `celery` of the module, its `.celery`, any app in it."""
    name, _, attribute = spec.partition(":")
    found = _imported(name)
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part)
    if not isinstance(found, ModuleType):
        return found
    inside = [getattr(found, "app", None), getattr(found, "celery", None), *vars(found).values()]
    for one in inside:
        if _is_celery(one) or isinstance(one, HermesCron):
            return one
    if hasattr(found, "__path__") and not attribute:
        return _found(f"{name}.celery")
    return found


def _imported(name: str) -> Any:
    """The module, or what a module has of this name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        parent, _, attribute = name.rpartition(".")
        if error.name != name or not parent:
            raise
        module = importlib.import_module(parent)
        if not hasattr(module, attribute):
            raise
        return getattr(module, attribute)


def _is_celery(value: object) -> bool:
    # `__class__`, as Celery's own proxies of an app (current_app) give away only there what they stand for.
    kinds = value.__class__.__mro__
    return any(f"{kind.__module__}.{kind.__qualname__}" == "celery.app.base.Celery" for kind in kinds)


def _zone_of(conf: Any) -> str | None:
    return str(conf.timezone) if conf.timezone else "UTC" if conf.enable_utc else None


def _of_entry(name: str, said: Any, zone: str | None) -> Found:
    values = said if isinstance(said, Mapping) else vars(said)
    when = _when(values.get("schedule"), zone, rounded=bool(values.get("relative")))
    return entry(
        name, values.get("task"), when, args=values.get("args"), kwargs=values.get("kwargs"),
        options=values.get("options"),
    )  # fmt: skip


def _when(schedule: Any, zone: str | None, *, rounded: bool) -> When:
    # By its exact class: one that is derived may mean something else by the same fields.
    kind = f"{type(schedule).__module__}.{type(schedule).__qualname__}"
    match kind:
        case "builtins.int" | "builtins.float" | "datetime.timedelta":
            return interval_when(schedule, rounded=rounded)
        case "celery.schedules.schedule":
            return interval_when(schedule.run_every, rounded=schedule.relative)
        case "celery.schedules.crontab" if schedule.nowfun is not None:
            return When(why="it tells the time by a function of its own (nowfun): add it by hand, with --timezone")
        case "celery.schedules.crontab":
            return crontab_when(_fields(schedule), zone)
        case "django_celery_beat.tzcrontab.TzAwareCrontab":
            return crontab_when(_fields(schedule), str(schedule.tz))
        case "django_celery_beat.clockedschedule.clocked":
            return clocked_when(schedule.clocked_time, zone)
        case "celery.schedules.solar":
            return solar_when(schedule.event, schedule.lat, schedule.lon)
    return When(why=f"its schedule is a {kind}, and only that knows its times: add it by hand")


def _fields(schedule: Any) -> dict[str, object]:
    return {name: getattr(schedule, f"_orig_{name}") for name in FIELDS}
