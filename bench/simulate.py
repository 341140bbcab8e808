"""How fast the simulation is, and what the ladder is for: `python -m bench.simulate [--agents N] [--days N]`.

1. 400 days of 50 jobs, from every five minutes to monthly, with and without faults.
2. The NAS-outage study: agents with one hourly job; NAS fails every five days, for twenty minutes on average, in half
   of the cases deliveries too, and gives a fire up after 33 minutes. Which chains are dead after 90 days?
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from hermes_cron.job import Job
from hermes_cron.schedule import Schedule
from hermes_cron.simulation.plan import LADDER, Plan
from hermes_cron.simulation.simulate import simulate
from hermes_cron.simulation.stage import Stage

SINCE = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
DAY = 86_400.0


def fifty_jobs() -> list[Job]:
    """Two every 5 minutes, four every 15, eight hourly, twenty daily, ten weekly, six monthly."""
    texts = [
        "every 5m", "*/5 * * * *", *["*/15 * * * *", "3-59/15 * * * *"] * 2,
        *[f"{7 * n % 60} * * * *" for n in range(8)],
        *[f"{11 * n % 60} {n % 24} * * *" for n in range(20)],
        *[f"{13 * n % 60} {5 * n % 24} * * {n % 7}" for n in range(10)],
        *[f"{17 * n % 60} 6 {1 + 4 * n} * *" for n in range(6)],
    ]  # fmt: skip
    return [job(f"job-{n:02}", text) for n, text in enumerate(texts)]


def job(job_id: str, text: str) -> Job:
    return Job(job_id, "task", Schedule.parse(text, timezone="Europe/Lisbon", now=SINCE))


def speed(days: float) -> None:
    print(f"{days:g} days of {len(fifty_jobs())} jobs")
    for faults in ("none", "all"):
        began, used = time.perf_counter(), time.process_time()
        tally = simulate(fifty_jobs(), Plan(SINCE, days, faults))
        runs = sum(line.runs for line in tally.lines.values())
        calls = tally.arms + tally.rungs + tally.lists
        print(
            f"  faults {faults:4}  {runs:8,} runs  {tally.cold_starts:8,} cold starts  {calls:9,} calls to NAS  "
            f"{time.perf_counter() - began:6.1f} s, of which on the processor {time.process_time() - used:.1f} s"
        )


class Careless(Stage):
    """An agent that goes to sleep though an arm is wanted: it arms before the run, and that is all."""

    def idle(self) -> bool:
        return not self.busy


@dataclass(frozen=True)
class Case:
    words: str
    rungs: tuple[float, ...]
    faults: str = "nas-outages"
    make: Callable[[Plan], Stage] = Stage


CASES = [
    Case("arms before the run, sleeps though an arm is wanted; no ladder", (), make=Careless),
    Case("stays awake while an arm is wanted; no ladder", ()),
    Case("the same, workers crash and messages are lost too; no ladder", (), "all"),
    Case("with 1 sentinel (15 min)", LADDER[:1], "all"),
    Case("with 2 sentinels (15 min, 3 h)", LADDER[:2], "all"),
    Case("with 3 sentinels (15 min, 3 h, 24 h)", LADDER[:3], "all"),
    Case("with 4 sentinels (15 min, 3 h, 24 h, 7 d), as by default", LADDER, "all"),
]


def one_agent(number: int, days: float, seed: int) -> tuple[float | None, int, int]:
    """The day on which its chain died, if it did; its fires that ran, and the wakes by sentinels."""
    case = CASES[number]
    plan = Plan(SINCE, days, case.faults, seed, rungs=case.rungs)
    tally = simulate([job("hourly", "0 * * * *")], plan, case.make)
    died = None if tally.dead_since is None else (tally.dead_since - SINCE).total_seconds() / DAY
    return died, tally.lines["hourly"].runs, tally.sentinels


def study(agents: int, days: float) -> None:
    print(f"one hourly job for {days:g} days, {agents} agents; NAS fails every 5 days, 20 min on average")
    with ProcessPoolExecutor() as pool:
        for number, case in enumerate(CASES):
            found = list(pool.map(partial(one_agent, number, days), range(agents), chunksize=10))
            dead = [day for day, _, _ in found if day is not None]
            when = f", median day {statistics.median(dead):.0f}" if dead else ""
            helped = 1000 * sum(wakes for _, _, wakes in found) / sum(runs for _, runs, _ in found)
            print(f"  {case.words:64} dead {100 * len(dead) / agents:5.1f} %{when}; "
                  f"{helped:.1f} sentinel wakes per 1000 runs", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=400, help="0 leaves the study out")
    parser.add_argument("--days", type=float, default=400.0, help="of the 50 jobs; the study takes 90")
    given = parser.parse_args()
    speed(given.days)
    if given.agents:
        began = time.perf_counter()
        study(given.agents, 90.0)
        print(f"  {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
