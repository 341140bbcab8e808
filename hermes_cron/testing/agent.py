"""`FrozenAgent`: the agent of `virtual` with a user's tasks in it, behind the real webhook, woken by a fake NAS."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta

from hermes_cron.fire import Fire
from hermes_cron.interfaces import Reconciled
from hermes_cron.providers.chronos.scheduler import ChronosCronScheduler
from hermes_cron.run import Run
from hermes_cron.settings import ChronosSettings
from hermes_cron.task import Task
from hermes_cron.testing.bodies import Bodies
from hermes_cron.testing.nas import FakeNas, Post
from hermes_cron.virtual.agent import Agent
from hermes_cron.virtual.client import ModelClient, NoQueue
from hermes_cron.virtual.nas import Alarm

IDLE_S = 30.0
"""How long the app has nothing to do before it sleeps."""

_NEVER = datetime.max.replace(tzinfo=UTC)


class FrozenAgent(Agent):
    """The app as a process; `post` is the way to its webhook, and `moved` is told of every instant it comes to."""

    def __init__(
        self, since: datetime, nas: FakeNas, tasks: Mapping[str, Task], moved: Callable[[datetime], object]
    ) -> None:
        self._fake = nas
        self._moved = moved
        nas.returned = self._nas_returned
        self.post: Post = _nobody
        self.bodies = Bodies(tasks, moved)
        super().__init__(since, nas.model, idle_s=IDLE_S, rungs=ChronosSettings().ladder, worker="frozen")

    def make_client(self) -> ModelClient:
        """A client of the fake NAS."""
        return self._fake.client()

    def body(self, run: Run) -> tuple[Run, float]:
        """Run the task."""
        return self.bodies.run(run, self.now)

    def outage(self) -> datetime | None:
        """The end of time while NAS is away: only the test knows a nearer one."""
        return _NEVER if self._fake.away else None

    def deliver(self, alarm: Alarm) -> None:
        """Post it to the webhook."""
        self._fake.attempt(alarm, self.post)

    def went_down(self, crashed: bool) -> None:
        """Nobody counts."""

    def go(self, at: datetime) -> None:
        """Go to this instant, and have happen what happens then."""
        self._moved(max(self.now, at))
        super().go(at)

    def call(self, fire: Fire) -> None:
        """A message for the app, which is woken by it if it sleeps."""
        self.rouse(0)
        self.accept(fire)

    def asked(self) -> None:
        """Somebody uses the door to jobs, which is in this process: so it is awake, and sees to what that leaves."""
        self.rouse(0)
        self.tend_soon()

    def _nas_returned(self) -> None:
        if self.up_at is not None and self.store.wanted(1):
            self.tend_at = None
            self.tend_soon(timedelta(0))


class InnerScheduler(ChronosCronScheduler):
    """The provider of whoever changes jobs inside the process of this agent."""

    def __init__(self, nas: FakeNas, agent: FrozenAgent) -> None:
        super().__init__(nas.settings, nas.client())
        self._agent = agent

    def on_jobs_changed(self, job_ids: Collection[str]) -> Collection[str]:
        """Arm or disarm what these changes made wanted, and the ladder; the ids that are still wanted (I11)."""
        wanted = super().on_jobs_changed(job_ids)
        self._agent.asked()
        return wanted

    def reconcile(self, full: bool = False, cancel_orphans: bool = False) -> Reconciled:
        """Arm what is wanted, disarm what is not; `full` also repairs what NAS forgot or kept."""
        found = super().reconcile(full, cancel_orphans)
        self._agent.asked()
        return found


class Bell(NoQueue):
    """The queue of an agent: a fire that is put on it is on its way at once."""

    def __init__(self, agent: FrozenAgent) -> None:
        self._agent = agent

    def enqueue(self, fire: Fire) -> None:
        """Hand it to the agent."""
        self._agent.call(fire)


def _nobody(body: bytes, token: str) -> int:
    return 503
