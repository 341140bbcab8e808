"""A NAS, a store, and schedulers between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hermes_cron.interfaces import Store
from hermes_cron.job import Job
from hermes_cron.providers.chronos.scheduler import ChronosCronScheduler
from hermes_cron.rules import change
from hermes_cron.schedule import Schedule
from hermes_cron.settings import ChronosSettings, Secret
from hermes_cron.store import open_store
from tests.unit.providers.nas import Nas, serving

Make = Callable[..., ChronosCronScheduler]
LADDER = (900.0, 10_800.0, 86_400.0, 604_800.0)


@pytest.fixture
def nas() -> Iterator[Nas]:
    with serving(Nas()) as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/hermes-cron.db")
    yield opened
    opened.close()


def chronos_settings(nas: Nas, **changes: Any) -> ChronosSettings:
    given: dict[str, Any] = {
        "portal_url": nas.url, "callback_url": "https://agent.example", "access_token": Secret("good"), "ladder": (),
    }  # fmt: skip
    return ChronosSettings(**{**given, **changes})


@pytest.fixture
def make(nas: Nas, store: Store) -> Iterator[Make]:
    """Schedulers that are attached to the store, and stopped at the end."""
    made: list[ChronosCronScheduler] = []

    def attached(**changes: Any) -> ChronosCronScheduler:
        scheduler = ChronosCronScheduler(chronos_settings(nas, **changes))
        scheduler.attach(store)
        made.append(scheduler)
        return scheduler

    yield attached
    for scheduler in made:
        scheduler.stop()


@pytest.fixture
def chronos(make: Make) -> ChronosCronScheduler:
    return make()


def add(store: Store, job_id: str, schedule: str = "every 15m") -> Job:
    """A job, not yet armed."""
    job = Job(id=job_id, task="t", schedule=Schedule.parse(schedule, now=store.now()))
    return store.change(job_id, partial(change.create, job=job))
