"""`FakeNas`: NAS as the contract describes it, in this process, at the time of a clock that is handed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from hermes_cron.clock import Clock
from hermes_cron.contract import BATCH_LIMIT, SENTINEL_PREFIX
from hermes_cron.interfaces import CronScheduler
from hermes_cron.nas.delivery import fire_body
from hermes_cron.nas.held import PATIENCE, retry_wait
from hermes_cron.providers.chronos.scheduler import ChronosCronScheduler
from hermes_cron.settings import ChronosSettings, Secret
from hermes_cron.testing.tokens import TokenMinter
from hermes_cron.virtual.client import ModelClient
from hermes_cron.virtual.nas import Alarm, ModelNas

SETTLE_S = 60.0
"""After how many seconds a fire that nobody answered by an arm is delivered again."""

Post = Callable[[bytes, str], int]
"""Send a body to `POST /api/cron/fire` with this bearer token; the status of the answer."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One try at a delivery; `status` is what the agent answered, None where NAS was away."""

    job_id: str
    fire_at: datetime
    status: int | None


class FakeNas:
    """Holds one alarm per job, and delivers what is due; tries again as our own NAS does, only without jitter.

    `scheduler()` is the agent's side of it: the real provider, for a `Client` over a store of yours.

    >>> import tempfile
    >>> from hermes_cron import HermesCron
    >>> from hermes_cron.client import Client
    >>> from hermes_cron.clock import utc_now
    >>> from hermes_cron.store import open_store
    >>> app = HermesCron("reports")
    >>> @app.task(name="tide")
    ... def tide(): ...
    >>> nas = FakeNas(utc_now)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     client = Client(open_store(f"sqlite:///{folder}/cron.db"), nas.scheduler(), app.tasks)
    ...     changed = client.add("tide", "2099-01-31T09:00:00Z", "tide")
    ...     client.close()
    >>> changed.armed, nas.armed["tide"].isoformat()
    (True, '2099-01-31T09:00:00+00:00')
    """

    def __init__(self, clock: Clock, minter: TokenMinter | None = None) -> None:
        self.minter = minter or TokenMinter(clock=clock)
        self.model = ModelNas(_retries(), settle=SETTLE_S)
        self.away = False
        """Whether it takes no calls and delivers nothing; see `outage`."""
        self.returned: Callable[[], None] = _nobody
        """Called when an outage is over."""
        self._clock = clock

    @property
    def settings(self) -> ChronosSettings:
        """What an agent that uses it has configured, and what its verifier is to believe."""
        minter = self.minter
        return ChronosSettings(
            portal_url=minter.issuer, callback_url="https://agent.invalid", access_token=Secret("-"),
            expected_audience=minter.audience, nas_public_key=minter.public_key,
        )  # fmt: skip

    @property
    def armed(self) -> Mapping[str, datetime]:
        """The alarms that it holds, by job id; those of the ladder left out."""
        return {job_id: at for job_id, at in self.held.items() if not job_id.startswith(SENTINEL_PREFIX)}

    @property
    def held(self) -> Mapping[str, datetime]:
        """All alarms that it holds, by id, with the ladder's (`_wake.1` and on)."""
        return {job_id: alarm.at for job_id, alarm in sorted(self.model.held.items())}

    @contextmanager
    def outage(self) -> Iterator[None]:
        """While this lasts it takes no calls and delivers nothing; what came due meanwhile it delivers afterwards."""
        before, self.away = self.away, True
        try:
            yield
        finally:
            self.away = before
            if not before:
                self.returned()

    def client(self) -> ModelClient:
        """The client by which an agent calls it."""
        return ModelClient(self.model, lambda: not self.away, batch=BATCH_LIMIT)

    def scheduler(self) -> CronScheduler:
        """The real provider of an agent that uses this NAS; it keeps no thread as long as it is not started."""
        return ChronosCronScheduler(self.settings, self.client())

    def deliver(self, post: Post) -> list[Delivered]:
        """Try to deliver what is due by now, the earliest first; `post` sends it."""
        return [self.attempt(alarm, post) for alarm in self.model.to_deliver(self._clock())]

    def attempt(self, alarm: Alarm, post: Post) -> Delivered:
        """Try to deliver one alarm, and note what came of it."""
        self.model.begin(alarm)
        body = fire_body(alarm.job_id, alarm.at)
        status = None if self.away else post(body, self.minter.mint(alarm.job_id, alarm.at, body=body))
        if status is not None and 200 <= status < 300:
            self.model.delivered(alarm, self._clock())
        else:
            self.model.failed(alarm, self._clock())
        return Delivered(alarm.job_id, alarm.at, status)


def _nobody() -> None:
    """Nobody waits for it."""


def _retries() -> tuple[float, ...]:
    """The waits between the tries of a delivery: those of our own NAS at their longest, until it loses patience."""
    waits: list[float] = []
    while sum(waits) < PATIENCE.total_seconds():
        waits.append(retry_wait(len(waits) + 1, None, 1.0))
    return tuple(waits)
