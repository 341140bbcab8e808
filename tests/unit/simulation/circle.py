"""The whole circle in memory: two workers that may crash between any two steps, people, a broker, NAS, and time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hermes_cron.arm import Order
from hermes_cron.clock import EPOCH, monotonic
from hermes_cron.errors import HermesCronError, NasError
from hermes_cron.fire import Fire
from hermes_cron.idle import Gate, IdleExit
from hermes_cron.providers.chronos.armer import Armer
from hermes_cron.providers.chronos.backoff import Backoff
from hermes_cron.providers.chronos.ladder import Ladder
from hermes_cron.providers.chronos.reconcile import Reconciler
from hermes_cron.rules.claim import Claimer
from hermes_cron.rules.progress import renew
from hermes_cron.run import RunState
from hermes_cron.virtual.client import ModelClient
from hermes_cron.virtual.nas import Alarm, ModelNas
from hermes_cron.virtual.scripts import Body, Call, Scripts, Steps
from tests.unit.parts import LEASE, NOON, FakeClock
from tests.unit.simulation.watched import WatchedStore

RUNGS = (900.0, 10_800.0, 86_400.0, 604_800.0)
CALL = timedelta(seconds=3)
SLOTS = 6
IDLE_S = 60.0
PEOPLE = 2
"""The number of the process in which people's commands run; 0 and 1 are workers."""


@dataclass(eq=False)
class Message:
    fire: Fire


@dataclass(eq=False)
class Strand:
    """One script under way: what it waits for, and what it is told next."""

    owner: int
    script: Generator[Any, Any, Any]
    message: Message | None = None
    waits: Any = None
    sent_at: datetime = NOON
    answer: Any = None
    did: set[str] = field(default_factory=set)
    job_id: str = ""


@dataclass(frozen=True)
class Protocol:
    """The protocol as it is; a mutant is one with a part exchanged."""

    scripts: type[Scripts] = Scripts
    steps: Callable[[Circle, int], Steps] = lambda circle, owner: Steps()
    ladder: type[Ladder] = Ladder


@dataclass(eq=False)
class Circle:
    protocol: Protocol
    nas: ModelNas
    rungs: tuple[float, ...] = RUNGS
    clock: FakeClock = field(default_factory=FakeClock)
    queue: list[Message] = field(default_factory=list)
    strands: list[Strand] = field(default_factory=list)
    strays: list[tuple[Order, datetime]] = field(default_factory=list)
    alive: list[bool] = field(default_factory=lambda: [True, True])
    drift: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    excused: set[tuple[str, datetime]] = field(default_factory=set)
    nas_up: bool = True
    way_up: bool = True
    current: Strand | None = None

    def __post_init__(self) -> None:
        self.store = WatchedStore(self.clock, self._told)
        self.scripts = [self._scripts(owner) for owner in range(3)]

    def _scripts(self, owner: int) -> Scripts:
        return self.protocol.scripts(
            self.store, Claimer(f"w{owner}", LEASE), self.protocol.ladder(self.rungs),
            self._boot_seconds, partial(self.look, owner),
            lambda fire: self.queue.append(Message(fire)), steps=self.protocol.steps(self, owner),
        )  # fmt: skip

    def _boot_seconds(self) -> float:
        return (self.clock.now - EPOCH).total_seconds()

    # Scripts.

    def spawn(self, owner: int, script: Generator[Any, Any, Any], message: Message | None = None) -> Strand:
        strand = Strand(owner, script, message)
        self.strands.append(strand)
        return strand

    def go_on(self, strand: Strand, steps: int = 1) -> None:
        """Take some steps of a script, up to where it has to be answered."""
        for _ in range(steps):
            if strand not in self.strands or (strand.waits is not None and strand.answer is None):
                return
            self._step(strand)

    def _step(self, strand: Strand) -> None:
        given, strand.answer, strand.waits = strand.answer, None, None
        self.current = strand
        try:
            found = strand.script.send(given[0] if given else None)
        except StopIteration as end:
            self.strands.remove(strand)
            assert not strand.job_id or strand.did != {"claim"}, "I11: a decided claim was answered by no arm"
            if end.value is not None and strand.message is not None and not isinstance(end.value, bool):
                self.queue.append(strand.message)
        except HermesCronError:
            # A person is told that it cannot be done.
            self.strands.remove(strand)
        else:
            if isinstance(found, Call | Body):
                strand.waits, strand.sent_at = found, self.clock.now
        finally:
            self.current = None

    def waiting_for(self, kind: type) -> list[Strand]:
        return [strand for strand in self.strands if isinstance(strand.waits, kind) and strand.answer is None]

    def _told(self, what: str) -> None:
        if self.current is not None:
            self.current.did.add(what)

    # Workers.

    def start(self, owner: int) -> None:
        self.alive[owner] = True
        self.look(owner)

    def look(self, owner: int) -> None:
        """A start, or a sentinel's wake: sweep, and reconcile fully with the real parts."""
        self.sweep(owner)
        self.spawn(owner, self._reconciled())

    def _reconciled(self) -> Iterator[Any]:
        yield "look"
        client = ModelClient(self.nas, lambda: self.nas_up)
        ladder = self.protocol.ladder(self.rungs)
        ladder.push(self.store, None)
        Reconciler(self.store, client, Armer(self.store, client, Backoff()), monotonic() + 60).run_full(
            cancel_orphans=False
        )

    def sweep(self, owner: int) -> None:
        for job_id in self.store.overdue(self._free(owner)):
            self.spawn(owner, self.scripts[owner].see_through(Fire(job_id, kind="sweep"), lambda: None))

    def consume(self, owner: int, message: Message) -> Strand | None:
        if not self._free(owner):
            return None
        self.queue.remove(message)
        strand = self.spawn(owner, iter(()), message)  # type: ignore[arg-type]  # Exchanged in the next line.
        strand.job_id = message.fire.job_id
        strand.script = self.scripts[owner].see_through(message.fire, partial(self._ack, strand))
        return strand

    def _ack(self, strand: Strand) -> None:
        assert "claim" in strand.did, "I16: a message was acknowledged before its claim was decided"
        strand.message = None

    def _free(self, owner: int) -> int:
        return max(0, SLOTS - sum(1 for strand in self.strands if strand.owner == owner))

    def crash(self, owner: int) -> None:
        """All of its scripts end where they are; its messages go back, and its calls may still arrive."""
        if owner != PEOPLE:
            self.alive[owner] = False
        for strand in [strand for strand in self.strands if strand.owner == owner]:
            self.strands.remove(strand)
            if strand.message is not None:
                self.queue.append(strand.message)
            if isinstance(strand.waits, Call) and strand.answer is None:
                self.strays.append((strand.waits.order, strand.sent_at + CALL))

    def renew_all(self) -> None:
        for strand in self.strands:
            if isinstance(strand.waits, Body):
                self.store.change(strand.waits.run.job_id, partial(renew, run=strand.waits.run, lease=LEASE))

    def idle(self) -> bool:
        """What the real decision to sleep says."""
        gate = Gate(lambda: None, lambda: None)
        return IdleExit(self.store, self, lambda: len(self.strands), gate, lambda: None, IDLE_S).idle()  # type: ignore[arg-type]  # It asks for the depth only.

    def depth(self) -> int:
        return len(self.queue)

    # Time, NAS and the way between.

    def to(self, now: datetime) -> None:
        """Time passes; a call never outlives its deadline."""
        self.clock.now = max(self.clock.now, now)
        for strand in self.waiting_for(Call):
            if self.clock.now > strand.sent_at + CALL:
                strand.answer = (NasError("NAS did not answer in time.", sent=True),)
        self.strays = [(order, until) for order, until in self.strays if self.clock.now <= until]

    def answer_call(self, strand: Strand, how: str) -> None:
        order = strand.waits.order
        if how in ("good", "unanswered") and self.nas_up:
            self.nas.obey(order)
        if how == "stray":
            self.strays.append((order, strand.sent_at + CALL))
        good = how == "good" and self.nas_up
        strand.answer = (None if good else NasError("No answer.", sent=how != "unsent"),)

    def answer_body(self, strand: Strand, state: RunState, back: bool = False) -> None:
        strand.answer = ((replace(strand.waits.run, state=state, error="" if back else str(state)), back),)

    def deliver(self, alarm: Alarm, how: str = "good") -> None:
        """NAS tries a delivery; a sleeping process is woken by it."""
        arrives = how != "refused" and self.way_up
        if arrives:
            self.queue.append(Message(Fire(alarm.job_id, alarm.at)))
            if not any(self.alive):
                self.start(0)
        if arrives and how == "good":
            self.nas.delivered(alarm, self.clock.now)
        elif not self.nas.failed(alarm, self.clock.now):
            self.excused.add((alarm.job_id, alarm.at))

    def lose(self, message: Message) -> None:
        self.queue.remove(message)
        if message.fire.fire_at is not None:
            self.excused.add((message.fire.job_id, message.fire.fire_at))

    def on_their_way(self) -> set[tuple[str, datetime | None]]:
        """Instants that NAS has spent, but that no claim has heard of yet."""
        unsettled = [*self.nas.going.values(), *self.nas.unsettled.values()]
        hands = [strand.message for strand in self.strands if strand.message is not None]
        named = {(message.fire.job_id, message.fire.fire_at) for message in (*self.queue, *hands)}
        return {(alarm.job_id, alarm.at) for alarm in unsettled} | named | self.excused
