"""Running a provider's `register(ctx)`, so that whatever is wrong with it harms nothing else (I17)."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType

from hermes_cron.clock import Clock
from hermes_cron.errors import ProviderError
from hermes_cron.interfaces import CronScheduler
from hermes_cron.providers.registry import BUNDLED, USER, ProviderInfo, load_package
from hermes_cron.settings import CronSettings

Offer = CronScheduler | Callable[[], CronScheduler]

_METHODS = ("is_available", "attach", "start", "stop", "arm", "on_jobs_changed", "reconcile", "held")


@dataclass
class ProviderContext:
    """What a provider is handed: the configuration's section `cron`, our home, a clock, and a place to register."""

    settings: CronSettings
    home: Path
    clock: Clock
    offers: list[Offer] = field(default_factory=list)

    def register_cron_scheduler(self, scheduler: Offer) -> None:
        """Offer a scheduler, or what makes one when it is called without arguments. The last offer counts."""
        self.offers.append(scheduler)


def load_provider(info: ProviderInfo, settings: CronSettings, *, home: Path, clock: Clock) -> CronScheduler:
    """The scheduler that this provider registers.

    Raises:
        ProviderError: It may not be run, cannot be loaded, fails, or registers none.
    """
    if info.problem:
        raise ProviderError(f"The provider {info.name!r} cannot be used: {info.problem}", field="cron.provider")
    ctx = ProviderContext(settings, home, clock)
    try:
        _register(info)(ctx)
        offer = ctx.offers[-1] if ctx.offers else None
        scheduler = offer() if callable(offer) else offer
    except (Exception, SystemExit) as error:
        # I17: it is other people's code, so anything may come out of it.
        message = f"The provider {info.name!r} ({info.path}) could not be loaded: {type(error).__name__}: {error}"
        raise ProviderError(message, field="cron.provider") from error
    return _checked(info, scheduler)


def _register(info: ProviderInfo) -> Callable[[ProviderContext], object]:
    if info.source == BUNDLED:
        found: object = importlib.import_module(f"hermes_cron.providers.{info.name}")
    elif info.source == USER:
        found = _module(Path(info.path))
    else:
        found = load_package(info.name)
    register = getattr(found, "register", None) if isinstance(found, ModuleType) else found
    if not callable(register):
        raise ProviderError("it has no function register(ctx).")
    return partial(register)


def _module(folder: Path) -> ModuleType:
    # A name of our own, so that it can hide no other module, and its own files are reached by relative imports only.
    name = f"_hermes_cron_provider_{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"
    place = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, place, submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None:
        raise ProviderError(f"{place} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    _forget(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        _forget(name)
        raise
    return module


def _forget(name: str) -> None:
    for key in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        del sys.modules[key]


def _checked(info: ProviderInfo, scheduler: object) -> CronScheduler:
    if scheduler is None:
        raise ProviderError(f"The provider {info.name!r} ({info.path}) registered no scheduler.", field="cron.provider")
    lacking = [name for name in _METHODS if not callable(getattr(scheduler, name, None))]
    lacking += [name for name in ("name", "confirms") if not hasattr(scheduler, name)]
    if isinstance(scheduler, type) or lacking:
        message = f"The provider {info.name!r} ({info.path}) registered a {type(scheduler).__name__}, no CronScheduler"
        raise ProviderError(f"{message}: it lacks {', '.join(lacking) or 'an instance'}.", field="cron.provider")
    return scheduler  # type: ignore[return-value]  # It has everything the protocol asks for, as was just seen.
