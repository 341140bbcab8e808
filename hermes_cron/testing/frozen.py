"""`FrozenCron`: an app in this process with a frozen clock, which `advance` moves from one thing to do to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar

from hermes_cron.app import HermesCron
from hermes_cron.client import MOST_FIRES, Client
from hermes_cron.errors import TaskFailed, TimeInvalid
from hermes_cron.ledger import Entry
from hermes_cron.nas.delivery import fire_body
from hermes_cron.run import Run
from hermes_cron.task import Task
from hermes_cron.testing.agent import Bell, FrozenAgent, InnerScheduler
from hermes_cron.testing.nas import FakeNas
from hermes_cron.testing.times import Instant, Span, instant_of, span_of
from hermes_cron.testing.tokens import TokenMinter
from hermes_cron.testing.web import Answer, post_fire
from hermes_cron.verify.keys import PinnedKeys, read_jwks
from hermes_cron.verify.token import NasVerifier
from hermes_cron.webapp import Desk, Wsgi, make_webapp

T = TypeVar("T")


class FrozenCron:
    """Your app at the instant `at`, all its jobs armed; time passes only in `advance`.

    `timezone` is the zone of schedules that name none. `tasks` run instead of the app's tasks of these names, and
    stand in for those of the box (`http`, `shell`, `prompt`), which are not here otherwise. With `raise_errors` a
    failed run ends `advance` with what its body raised. `moved` is called with every instant that the clock comes to,
    before anything runs there: hand it what freezes `datetime.now()` for the code under test.

    Raises:
        TimeInvalid: `at` cannot be read, or has no offset.
        ScheduleError, JobInvalid: A job of the app cannot be one at this instant, such as a one-shot that is past.
    """

    def __init__(
        self, app: HermesCron, *, at: Instant, timezone: str = "UTC",
        tasks: Mapping[str, Callable[..., object]] | None = None, raise_errors: bool = False,
        moved: Callable[[datetime], object] | None = None,
    ) -> None:  # fmt: skip
        since = instant_of(at, "at")
        self._raise_errors = raise_errors
        self._moved = moved or _unmoved
        self._moved(since)
        minter = TokenMinter(f"agent:{app.name}", clock=self._clock)
        self.nas = FakeNas(self._clock, minter)
        """The NAS that holds the app's alarms."""
        known = _tasks(app, tasks or {})
        self._agent = FrozenAgent(since, self.nas, known, self._moved)
        scheduler, bell = InnerScheduler(self.nas, self._agent), Bell(self._agent)
        self.client = Client(self._agent.store, scheduler, known, bell=bell.enqueue, timezone=timezone)
        """The door to jobs, as programs use it: add, pause, resume, run, stop and all the rest."""
        verifier = NasVerifier(PinnedKeys(read_jwks(minter.jwks)), minter.audience, minter.issuer, clock=self._clock)
        desk = Desk(lambda store: self.client)
        self.web: Wsgi = make_webapp(verifier, bell, lambda: self._agent.store, desk)
        """The app's HTTP side, a WSGI application: the fire endpoint, the API, the dashboard."""
        self._agent.post = lambda body, token: post_fire(self.web, body, token).status
        self.client.declare(app.jobs.values())
        self.client.arm(list(app.jobs))
        self._agent.wake()

    @property
    def now(self) -> datetime:
        """What time it is; inside a task, what time it is there."""
        return self._agent.bodies.inside or self._agent.now

    @property
    def armed(self) -> Mapping[str, datetime]:
        """The alarms that NAS holds, by job id."""
        return self.nas.armed

    def advance(self, *, to: Instant | None = None, by: Span | None = None) -> list[Run]:
        """Let time pass, and have happen what happens meanwhile and at its end; without arguments, what is due now.

        The runs whose bodies began, in that order, each as it stands at the end. A body that raises has failed, and
        is tried again if its job says so; where it is to be raised here, the clock stays at its instant, and the next
        `advance` goes on from there.

        Raises:
            TimeInvalid: It is past, cannot be read, or a task asks for it: that is what `sleep` is for.
            Exception: What the first body raised that failed, with `raise_errors`; TaskFailed where none raised.
        """
        until = self._until(to, by)
        agent, first = self._agent, len(self._agent.bodies.begun)
        while (at := agent.next()) is not None and at <= until:
            agent.go(at)
            self._raise_failed()
        agent.now = until
        self._moved(until)
        begun = agent.bodies.begun[first:]
        runs = {run.id: run for run in agent.store.runs(limit=MOST_FIRES)} if begun else {}
        return [runs[run_id] for run_id in begun]

    def sleep(self, seconds: float) -> None:
        """Let time pass inside a task, in the place of `time.sleep`: its run stays open for that much longer.

        The body itself is over before anything else happens; so it cannot see what others do meanwhile.

        Raises:
            TimeInvalid: No task runs here, or these are no seconds.
        """
        span = span_of(seconds, "seconds")
        if self._agent.bodies.inside is None:
            raise TimeInvalid("No task runs here that could sleep.", hint="Outside of tasks, say advance(by=...).")
        self._agent.bodies.spend(span.total_seconds())

    def takes(self, job_id: str, span: Span) -> None:
        """From now on bodies of this job take so long: they run at once, and their runs stay open until then.

        A run that is told to stop meanwhile (`overlap="replace"`, `client.cancel`) ends `cancelled` when it hears of
        it, within 10 s, as one does whose body asks `run.cancelled()`; one that takes longer than its timeout `failed`.

        Raises:
            JobNotFound: There is no such job.
            TimeInvalid: This is no span of time.
        """
        self.client.get(job_id)
        self._agent.bodies.takes[job_id] = span_of(span, "span").total_seconds()

    def runs(self, job_id: str | None = None) -> list[Run]:
        """All runs, open and ended, of one job or of all: the oldest first."""
        return _oldest_first(self.client.runs(job_id, limit=MOST_FIRES))

    def fires(self, job_id: str | None = None) -> list[Entry]:
        """The ledger, of one job or of all, the oldest first: what came due, and what became of it; skipped, too."""
        return _oldest_first(self.client.fires(job_id, limit=MOST_FIRES))

    def raised(self, run: Run) -> BaseException | None:
        """What the body of this run raised; None where it raised nothing."""
        return self._agent.bodies.raised.get(run.id)

    def fire(self, job_id: str, fire_at: Instant | None = None, *, token: str | None = None) -> Answer:
        """Call the fire endpoint, as NAS or as somebody else; what it answered. What it accepts runs with `advance`.

        The instant is by default the one that NAS holds an alarm for, else now; `token` by default a good one, and
        none where it is empty.

        Raises:
            TimeInvalid: The instant cannot be read.
        """
        at = self.armed.get(job_id, self.now) if fire_at is None else instant_of(fire_at, "fire_at")
        body = fire_body(job_id, at)
        return post_fire(self.web, body, self.nas.minter.mint(job_id, at, body=body) if token is None else token)

    def close(self) -> None:
        """Give back what it has, which is memory alone."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _clock(self) -> datetime:
        return self._agent.now

    def _until(self, to: Instant | None, by: Span | None) -> datetime:
        if self._agent.bodies.inside is not None:
            raise TimeInvalid("A task asks for time to pass for all.", hint="Inside of tasks, say sleep(seconds).")
        if to is not None and by is not None:
            raise TimeInvalid("Say either to= or by=, not both.", field="to")
        try:
            until = self.now + span_of(by or timedelta(0), "by") if to is None else instant_of(to, "to")
        except OverflowError as error:
            raise TimeInvalid(f"by={by!r} leads beyond the year 9999.", field="by") from error
        if until < self.now:
            words = f"to={to!r} is past: it is {self.now.isoformat()}, and time does not go back."
            raise TimeInvalid(words, field="to")
        return until

    def _raise_failed(self) -> None:
        failed = self._agent.bodies.failed
        if not failed:
            return
        run, raised = failed[0], self.raised(failed[0])
        failed.clear()
        if self._raise_errors:
            raise TaskFailed(f"The run {run.id} failed: {run.error}.") if raised is None else raised


def _tasks(app: HermesCron, instead: Mapping[str, Callable[..., object]]) -> Mapping[str, Task]:
    found = dict(app.tasks)
    for name, call in instead.items():
        found[name] = replace(found[name], call=call) if name in found else Task(name, call)
    return found


def _oldest_first(found: Sequence[T]) -> list[T]:
    return list(reversed(found))


def _unmoved(now: datetime) -> None:
    """Nobody is to be told what time it is."""
