"""What it costs to take down what runs say: `python -m bench.capture [ROUNDS]`, from the project's folder.

Each line measures the same with and without it, in turns and on the processor, so that whatever else the machine does
meets both; what counts is the ratio of the medians. stdout is /dev/null, and the log goes there too. At the end, by the
wall, what keeping it in a SQLite store takes beside the write of the outcome, which comes before it.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

from hermes_cron.capture import Capture, recorded
from hermes_cron.clock import utc_now
from hermes_cron.execution import execute
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.job import Job
from hermes_cron.output import Recorder
from hermes_cron.rules import change, progress
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.run import Run, RunState, StopSign
from hermes_cron.schedule import Schedule
from hermes_cron.store import open_store
from hermes_cron.task import Task

LOG = logging.getLogger("bench.body")
LINE = "2026-11-26 station 17: high water at 06:12, 3.41 m"


def prints(lines: int) -> None:
    for _ in range(lines):
        print(LINE)


def logs(lines: int) -> None:
    for _ in range(lines):
        LOG.info("%s", LINE)


def reads(lines: int) -> None:
    """A body that does a little of what bodies do between two lines: it reads a file."""
    for _ in range(lines):
        with open(__file__) as file:  # noqa: PTH123 - as people write it.
            file.read()
        print(LINE)


TASKS = {call.__name__: Task(call.__name__, call) for call in (prints, logs, reads)}


def run_of(task: str, lines: int) -> Run:
    return Run("a:1", "a", "k", utc_now(), 1, 1, task, {"lines": lines}, RunState.STARTED)


def plain(run: Run, sign: StopSign) -> Run:
    return execute(run, TASKS, sign, utc_now)


def timed(work: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    """Microseconds on the processor, or by another clock."""
    began = clock()
    work()
    return (clock() - began) * 1e6


def compare(name: str, rounds: int, without: Callable[[], object], within: Callable[[], object]) -> None:
    """Both in turns; `within` while somebody listens."""
    found: tuple[list[float], list[float]] = ([], [])
    capture = Capture()
    for number in range(rounds + 5):
        bare = timed(without)
        capture.start()
        heard = timed(within)
        capture.stop()
        if number >= 5:
            found[0].append(bare)
            found[1].append(heard)
    bare, heard = map(statistics.median, found)
    tell(f"{name:<34}{bare:10.1f} us{heard:10.1f} us   x {heard / bare:.2f}")


def tell(words: str) -> None:
    sys.stderr.write(words + "\n")


def measure_runs(rounds: int) -> None:
    tell(f"{'a run whose body':<34}{'without':>13}{'with':>13}")
    whole = recorded(plain, utc_now, ("correct-horse-battery", "a-token-of-ours"))
    for task, lines in (("prints", 0), ("prints", 1), ("prints", 20), ("logs", 20), ("reads", 20), ("prints", 2000)):
        run = run_of(task, lines)
        compare(
            f"  {task}, {lines} lines", rounds, lambda run=run: plain(run, StopSign()),
            lambda run=run: whole(run, StopSign()),
        )  # fmt: skip
    tell("outside of runs")
    for call in (prints, logs):
        compare(f"  {call.__name__}, 20 lines", rounds, partial(call, 20), partial(call, 20))


def ended(store: Store) -> tuple[Run, float]:
    """A run that has ended, and how long the write of that took."""
    store.change("a", partial(change.run_now, uuid=os.urandom(8).hex()))
    claimer = Claimer("bench", timedelta(seconds=30))
    run = store.change("a", partial(claim, fire=Fire("a"), claimer=claimer)).run
    assert run is not None
    begun = store.change("a", partial(progress.begin, run=run, lease=claimer.lease))
    assert isinstance(begun, Run)
    done = replace(begun, state=RunState.SUCCEEDED)
    return done, timed(lambda: store.change("a", partial(progress.complete, run=done)), time.perf_counter)


def measure_store(rounds: int, folder: str) -> None:
    store = open_store(f"sqlite:///{folder}/bench.db")
    job = Job("a", "prints", Schedule("cron", "0 0 1 1 *", "UTC"))
    store.change("a", partial(change.create, job=job))
    tell("kept in SQLite, after the outcome    the outcome      the output")
    for lines in (1, 20, 2000):
        recorder = Recorder(utc_now)
        for _ in range(lines):
            recorder.printed("stdout", f"{LINE}\n".encode())
        output = recorder.end()
        outcomes, outputs = [], []
        for _ in range(rounds):
            run, took = ended(store)
            outcomes.append(took)
            outputs.append(timed(partial(store.keep_output, run, output), time.perf_counter))
        outcome, kept = statistics.median(outcomes), statistics.median(outputs)
        tell(
            f"  {lines} lines, {len(output.to_text())} bytes".ljust(34)
            + f"{outcome:10.0f} us{kept:13.0f} us   x {kept / outcome:.2f}"
        )
    store.close()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - as long as the process.
    handler = logging.StreamHandler(sys.stdout)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    measure_runs(rounds)
    with tempfile.TemporaryDirectory() as folder:
        measure_store(min(rounds, 100), folder)


if __name__ == "__main__":
    main()
