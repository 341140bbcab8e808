"""Which scheduler serves this process, or this command (promise I7)."""

from __future__ import annotations

import logging
from pathlib import Path

from hermes_cron.clock import Clock, utc_now
from hermes_cron.errors import ConfigError, HermesCronError, ProviderError
from hermes_cron.interfaces import CronScheduler
from hermes_cron.providers.builtin import InProcessCronScheduler
from hermes_cron.providers.loading import load_provider
from hermes_cron.providers.registry import BUILTIN, find_provider
from hermes_cron.settings import CronSettings

_log = logging.getLogger("hermes_cron.providers")


def resolve_cron_scheduler(settings: CronSettings, *, home: Path, clock: Clock = utc_now) -> CronScheduler:
    """The scheduler that serves this process: there is always a trigger (I7).

    Whatever is wrong with the configured provider, with `cron.fallback: builtin` the built-in one takes over; its
    `warning` says why, as does the log.

    Raises:
        ConfigError: With `cron.fallback: fail`, there is no such provider, or it is not configured well enough.
        ProviderError: With `cron.fallback: fail`, it could not be loaded.
    """
    try:
        return configured_cron_scheduler(settings, home=home, clock=clock)
    except HermesCronError as error:
        if settings.fallback == "fail":
            raise
        warning = f"The built-in provider takes over: {error}"
        _log.warning("%s", warning)
        return InProcessCronScheduler(warning=warning)


def configured_cron_scheduler(settings: CronSettings, *, home: Path, clock: Clock = utc_now) -> CronScheduler:
    """The scheduler that is configured, and never another: for a one-off command.

    Raises:
        ConfigError: There is no such provider, or it is not configured well enough.
        ProviderError: It could not be loaded.
    """
    if settings.provider in ("", BUILTIN):
        return InProcessCronScheduler()
    info = find_provider(settings.provider, home)
    scheduler = load_provider(info, settings, home=home, clock=clock)
    try:
        available = scheduler.is_available()
    except (Exception, SystemExit) as error:
        # I17: it is other people's code, so anything may come out of it.
        message = f"The provider {info.name!r} ({info.path}) cannot tell whether it is available: {error!r}."
        raise ProviderError(message, field="cron.provider") from error
    if not available:
        raise _unavailable(settings.provider, scheduler)
    return scheduler


def _unavailable(name: str, scheduler: CronScheduler) -> ConfigError:
    # Optional for a provider: the keys that it misses.
    missing = getattr(scheduler, "missing", None)
    keys = [str(key) for key in missing()] if callable(missing) else []
    why = f"not usable: {', '.join(keys)}" if keys else "it says that it is not available"
    hint = "Set what is missing, or set cron.provider to an empty text for the built-in provider."
    return ConfigError(f"The provider {name!r} is not configured well enough; {why}.", hint=hint, field="cron.provider")
