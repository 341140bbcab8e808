"""Bodies in threads and in processes, side by side: `python -m bench.pool [ROUNDS]`, from the project's folder.

For each pool a whole worker over SQLite and the memory queue. Rounds alternate between the two, so that whatever else
the machine does meets both. Measured: from the fire on the queue to the first line of the body (claimed, armed, begun);
the seam alone (a run handed over, and its end taken back); what a warm child takes of memory; how long one starts.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import tempfile
import time
import uuid
from functools import partial
from pathlib import Path

from hermes_cron import bootstrap
from hermes_cron.app import HermesCron
from hermes_cron.bootstrap import Crew
from hermes_cron.clock import utc_now
from hermes_cron.config import load
from hermes_cron.execution import execute
from hermes_cron.fire import Fire
from hermes_cron.handover import Load
from hermes_cron.pool import Pool
from hermes_cron.rules import change
from hermes_cron.run import Run, RunState, StopSign
from hermes_cron.settings import TaskSettings

POOLS = ("threads", "processes")
app = HermesCron("bench")


@app.task(name="begin")
def begin() -> int:
    """When it began: Linux counts this clock alike for every process."""
    return time.monotonic_ns()


def open_crew(pool: str, folder: str) -> Crew:
    flags = {
        "app": "bench.pool:app", "store.url": f"sqlite:///{folder}/{pool}.db", "worker.pool": pool,
        "worker.concurrency": 2, "broker.queue": f"bench-{pool}",
    }  # fmt: skip
    config = load(environ={"HERMES_CRON_HOME": folder}, flags=flags)
    loaded = bootstrap.load_app("bench.pool:app")
    crew = bootstrap.make_crew(
        config, loaded, store=bootstrap.the_store(config), broker=bootstrap.the_broker(config)
    )  # fmt: skip
    crew.start()
    crew.client.add("a", "@yearly", "begin")
    return crew


def accept_to_start(crew: Crew) -> float:
    """Milliseconds from the fire on the queue to the body's first line."""
    entry = crew.store.change("a", partial(change.run_now, uuid=uuid.uuid4().hex))
    queued = time.monotonic_ns()
    crew.broker.enqueue(Fire("a", kind="manual"))
    while True:
        run = next((run for run in crew.store.runs("a", limit=3) if run.key == entry.key), None)
        if run is not None and run.state is RunState.SUCCEEDED:
            return (int(run.result) - queued) / 1e6
        time.sleep(0.003)


def run_of(number: int) -> Run:
    return Run(f"a:{number}", "a", "k", utc_now(), 1, number, "begin", {}, RunState.STARTED)


def shown(name: str, times: list[float]) -> str:
    ordered = sorted(times)
    p99 = ordered[int(len(ordered) * 0.99)]
    return f"{name:<22}{statistics.median(ordered):8.2f} ms p50{p99:9.2f} ms p99"


def both(title: str, found: dict[str, list[float]]) -> None:
    print(title)
    for pool in POOLS:
        print(shown(f"  {pool}", found[pool]))
    threads, processes = (statistics.median(found[pool]) for pool in POOLS)
    print(f"  processes / threads   {processes / threads:8.2f}   a difference of {processes - threads:.2f} ms\n")


def measure_story(rounds: int, folder: str) -> None:
    crews = {pool: open_crew(pool, folder) for pool in POOLS}
    for crew in crews.values():
        for _ in range(5):
            accept_to_start(crew)
    found: dict[str, list[float]] = {pool: [] for pool in POOLS}
    for _ in range(rounds):
        for pool, crew in crews.items():
            found[pool].append(accept_to_start(crew))
    for crew in crews.values():
        crew.stop()
    both("from the fire on the queue to the body's first line", found)


def measure_seam(rounds: int) -> None:
    pool = Pool(Load("bench.pool:app", TaskSettings(), logging.WARNING), app.tasks, 1)
    started = time.monotonic()
    pool.start()
    pool.execute(run_of(0), StopSign())
    first = time.monotonic() - started
    seams = {"threads": lambda run: execute(run, app.tasks, StopSign(), utc_now), "processes": pool_of(pool)}
    found: dict[str, list[float]] = {name: [] for name in POOLS}
    for number in range(rounds):
        for name, seam in seams.items():
            began = time.perf_counter()
            seam(run_of(number))
            found[name].append((time.perf_counter() - began) * 1e3)
    both("the seam alone: a run handed over, and its end taken back", found)
    print(f"a child is warm after {first * 1e3:.0f} ms; with its keeper it takes {memory():.0f} MiB (PSS)")
    pool.stop()


def pool_of(pool: Pool):
    return lambda run: pool.execute(run, StopSign())


def memory() -> float:
    """MiB of the processes below this one, what they share counted in shares."""
    found, todo = 0, [os.getpid()]
    while todo:
        for task in Path(f"/proc/{todo.pop()}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                todo.append(child)
                rollup = Path(f"/proc/{child}/smaps_rollup").read_text().splitlines()
                found += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return found / 1024


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        measure_story(rounds, folder)
    measure_seam(rounds * 10)


if __name__ == "__main__":
    main()
