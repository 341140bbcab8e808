"""The scripts are the real code's steps in the real code's order: both are run, and what they do is compared."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from hermes_cron.clock import monotonic
from hermes_cron.errors import NasError
from hermes_cron.fire import Fire
from hermes_cron.firing import Firing
from hermes_cron.interfaces import Store
from hermes_cron.output import Line, Output
from hermes_cron.providers.chronos.armer import Armer
from hermes_cron.providers.chronos.backoff import Backoff
from hermes_cron.providers.chronos.ladder import Ladder
from hermes_cron.providers.chronos.scheduler import ChronosCronScheduler
from hermes_cron.rules import change
from hermes_cron.rules.claim import Claimer
from hermes_cron.run import Run, RunState, StopSign
from hermes_cron.settings import ChronosSettings, Secret
from hermes_cron.virtual.client import ModelClient
from hermes_cron.virtual.memory import MemoryStore
from hermes_cron.virtual.nas import ModelNas
from hermes_cron.virtual.scripts import Body, Call, Scripts
from tests.unit.parts import LEASE, NOON, Between, FakeClock, ListBroker, Scheduler, add
from tests.unit.providers.nas import Nas, serving

DUE = NOON + timedelta(minutes=15)
CLAIMER = Claimer("w", LEASE)
RUNGS = (900.0, 10_800.0)


class Told(Between):
    """A store that is also told what a run said."""

    def keep_output(self, run: Run, output: Output) -> None:
        self._before(f"keep {output.lines[0].text}")
        self._store.keep_output(run, output)


@dataclass
class Stage:
    """A store, a NAS that is a model, and a diary of what happens to them, in order."""

    said: list[str] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)
    nas: ModelNas = field(default_factory=ModelNas)
    nas_up: bool = True
    ends: RunState = RunState.SUCCEEDED
    drains: bool = False
    output: Output | None = None
    meanwhile: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self.kept = MemoryStore(self.clock)
        self.store: Store = Told(self.kept, self.said.append)  # type: ignore[assignment]  # a stand-in.
        self.client = ModelClient(self.nas, self.called)

    def called(self) -> bool:
        self.said.append("NAS")
        self.meanwhile()
        return self.nas_up

    def ended(self, run: Run) -> Run:
        self.said.append("body")
        return replace(run, state=self.ends, output=self.output)

    def ack(self) -> None:
        self.said.append("ack")

    def by_real_parts(self, fire: Fire) -> None:
        armer = Armer(self.store, self.client, Backoff())

        class Arms(Scheduler):
            def arm(self, job_id: str, within: float) -> bool:
                return not armer.settle([job_id], monotonic() + within).wanted

        @contextmanager
        def keep(run: Run) -> Iterator[StopSign]:
            sign = StopSign()
            if self.drains:
                sign.put_up("its worker drains", hand_back=True)
            yield sign

        Firing(
            self.store, ListBroker(self.said), Arms(), CLAIMER, keep, lambda run, sign: self.ended(run),
            lambda: self.said.append("awake"),
        ).fire_due(fire, self.ack)  # fmt: skip

    def by_scripts(self, fire: Fire) -> None:
        self.drive(self.scripts().see_through(fire, self.ack))

    def scripts(self, store: Store | None = None) -> Scripts:
        return Scripts(
            store or self.store, CLAIMER, Ladder(RUNGS), lambda: 0.0, lambda: self.said.append("awake"),
            lambda fire: self.said.append(f"ring {fire.job_id}"),
        )  # fmt: skip

    def drive(self, script: Generator[Any, Any, Any]) -> None:
        answer: Any = None
        while True:
            try:
                found = script.send(answer)
            except StopIteration:
                return
            answer = None
            if isinstance(found, Call):
                answer = self.call(found)
            elif isinstance(found, Body):
                answer = self.ended(found.run), self.drains

    def call(self, call: Call) -> NasError | None:
        try:
            self.client.do(call.order)
        except NasError as error:
            return error
        return None


def both(prepare: Callable[[Stage], None], fire: Fire) -> tuple[list[str], list[str]]:
    """What the real parts and the scripts do with one fire, in a world that was prepared alike."""
    diaries = []
    for way in (Stage.by_real_parts, Stage.by_scripts):
        stage = Stage()
        prepare(stage)
        stage.said.clear()
        way(stage, fire)
        diaries.append(list(stage.said))
    return diaries[0], diaries[1]


def due(stage: Stage, **policies: Any) -> None:
    add(stage.kept, **policies)
    stage.clock.now = DUE


def cancelled(stage: Stage) -> None:
    """The run is cancelled while NAS is called about its job's next alarm, so before it begins."""
    queued(stage)

    def cancel() -> None:
        for run in stage.kept.runs("a"):
            if run.open:
                stage.kept.change("a", partial(change.cancel_run, run_id=run.id, reason="by hand"))

    stage.meanwhile = cancel


def talking(stage: Stage) -> None:
    queued(stage)
    stage.output = Output((Line(DUE, "stdout", "hello"),))


def drained(stage: Stage) -> None:
    due(stage)
    stage.drains, stage.ends = True, RunState.CANCELLED


def failing(stage: Stage) -> None:
    due(stage, max_attempts=3)
    stage.ends = RunState.FAILED


def away(stage: Stage) -> None:
    due(stage)
    stage.nas_up = False


def queued(stage: Stage) -> None:
    due(stage)
    stage.kept.change("a", lambda record, moment: change.run_now(record, moment, uuid="1"))


def paused(stage: Stage) -> None:
    due(stage)
    stage.kept.change("a", change.pause)


SITUATIONS: dict[str, tuple[Callable[[Stage], None], Fire]] = {
    "a due fire": (due, Fire("a", DUE)),
    "an early fire": (due, Fire("a", DUE + timedelta(seconds=30))),
    "a fire that is not due": (due, Fire("a", DUE + timedelta(hours=1))),
    "a sweep": (due, Fire("a", kind="sweep")),
    "a run that fails": (failing, Fire("a", DUE)),
    "a run that is cancelled before it begins, with another waiting behind it": (cancelled, Fire("a", DUE)),
    "a run that says something, with another waiting behind it": (talking, Fire("a", DUE)),
    "a run that is handed back": (drained, Fire("a", DUE)),
    "a fire while NAS is away": (away, Fire("a", DUE)),
    "a fire with another waiting behind it": (queued, Fire("a", DUE)),
    "a fire of a paused job": (paused, Fire("a", DUE)),
    "a fire of nobody's": (due, Fire("nobody", DUE)),
    "a sentinel": (due, Fire("_wake.1", DUE)),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_script_does_what_the_real_parts_do_with(situation: str) -> None:
    real, script = both(*SITUATIONS[situation])
    assert script == real
    assert real


def test_the_order_of_a_due_fire_is_the_one_that_is_promised() -> None:
    real, _ = both(due, Fire("a", DUE))
    arm = ["take", "NAS", "succeeded"]
    assert real == ["claim", "ack", *arm, "begin", "body", "complete", "take"]


class Diary:
    """A store with a diary by id: `take` for the job, `push_rung` for a rung, and so on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.said: dict[str, list[str]] = {}

    def change(self, job_id: str, step: Any) -> Any:
        self.said.setdefault(job_id, []).append(getattr(getattr(step, "func", step), "__name__", ""))
        return self._store.change(job_id, step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_change_by_a_script_is_that_of_the_real_client_and_provider() -> None:
    def sooner(record: Any, moment: Any) -> Any:
        return change.create(record, moment, job=replace(add(MemoryStore(FakeClock())), id="b"))

    found = []
    for by_script in (False, True):
        stage = Stage()
        add(stage.kept)
        diary = Diary(stage.kept)
        if by_script:
            stage.drive(stage.scripts(diary).change("b", sooner))  # type: ignore[arg-type]  # It is a store by `__getattr__`.
        else:
            with serving(Nas()) as nas:
                settings = ChronosSettings(
                    portal_url=nas.url, callback_url="https://agent.example", access_token=Secret("good"), ladder=RUNGS
                )
                chronos = ChronosCronScheduler(settings)
                chronos.attach(diary)  # type: ignore[arg-type]  # As above.
                diary.change("b", sooner)
                assert not chronos.on_jobs_changed(["b"])
                chronos.stop()
        found.append(diary.said)
    assert found[0] == found[1]
    assert found[0]["b"] == ["sooner", "take", "succeeded"]
    assert found[0]["_wake.1"] == ["push_rung", "take", "succeeded"]
