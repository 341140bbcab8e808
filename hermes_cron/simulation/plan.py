"""`Plan`: what is to be simulated, and the faults that chance has in store for it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hermes_cron.virtual.nas import SHORT_RETRIES

FAULTS = ("none", "nas-outages", "crashes", "lost-messages", "all")
LADDER = (900.0, 10_800.0, 86_400.0, 604_800.0)

OUTAGE_EVERY_S = 5 * 86_400.0
OUTAGE_MEAN_S = 1200.0
CRASHES = 0.01
LOSSES = 0.001

_SPREAD = 1.2


@dataclass(frozen=True, slots=True)
class Plan:
    """From `since` on for `days`; seconds that a run, a cold start and the wait before sleep take; faults and a seed.

    `retries` are the pauses after which NAS tries a delivery again before it gives up; `rungs` is the ladder.
    """

    since: datetime
    days: float = 30.0
    faults: str = "none"
    seed: int = 0
    run_s: float = 10.0
    cold_s: float = 2.0
    idle_s: float = 30.0
    rungs: Sequence[float] = LADDER
    retries: Sequence[float] = SHORT_RETRIES
    glides: bool = True
    """Whether fires that go like one before are skipped over instead of being driven.

    What becomes of jobs is the same. Calls and wakes are, too, but where a fire that had to be driven comes in the
    midst of another job's run: there one may be counted more or less.
    """

    @property
    def until(self) -> datetime:
        """When it ends."""
        return self.since + timedelta(days=self.days)

    def has(self, fault: str) -> bool:
        """Whether this fault is part of it."""
        return self.faults in (fault, "all")


@dataclass(frozen=True, slots=True)
class Outage:
    """For this time NAS takes no calls; `both` tells that it cannot deliver either."""

    start: datetime
    end: datetime
    both: bool


def outages(plan: Plan) -> list[Outage]:
    """The outages of NAS: at random, of lognormal length, in half of them deliveries fail too."""
    return list(_outages(plan)) if plan.has("nas-outages") else []


def _outages(plan: Plan) -> Iterator[Outage]:
    rnd = random.Random(f"outages {plan.seed}")  # noqa: S311 - chance that can be repeated, and guards nothing.
    at = plan.since
    while True:
        at += timedelta(seconds=rnd.expovariate(1 / OUTAGE_EVERY_S))
        if at >= plan.until:
            return
        # The mean of a lognormal law with median 1 is exp(spread^2 / 2).
        length = OUTAGE_MEAN_S * rnd.lognormvariate(-(_SPREAD**2) / 2, _SPREAD)
        yield Outage(at, at + timedelta(seconds=length), rnd.random() < 0.5)
        at += timedelta(seconds=length)


class Chance:
    """Something that happens to one fire in so many, at random: `left` says how many it spares until then."""

    def __init__(self, name: str, plan: Plan, share: float) -> None:
        self._rnd = random.Random(f"{name} {plan.seed}")  # noqa: S311 - chance that can be repeated, and guards nothing.
        self._share = share if plan.has(name) else 0.0
        self.left: float = 0.0
        self._draw()

    def strikes(self) -> bool:
        """Whether it happens to the fire that comes now."""
        if self.left > 0:
            self.left -= 1
            return False
        self._draw()
        return True

    def below(self, most: int) -> int:
        """A number below `most`, at random."""
        return self._rnd.randrange(most)

    def _draw(self) -> None:
        self.left = int(self._rnd.expovariate(1.0) / self._share) if self._share else float("inf")
