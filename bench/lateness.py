"""How long after its instant a fire's body starts, with everything warm: `python -m bench.lateness [seconds]`.

Real NAS, two webs, two workers, Redis and SQLite, all on loopback. A fire's lateness is the whole way: NAS's timer, the
delivery, the verification, the queue, the claim, the arm of the next fire at NAS, and the start. `accept to start` is
what is left of it from the moment NAS had its 202 at the latest; both are printed as p50, p99 and max.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from hermes_cron.server import listen
from tests.integration.system import System

REDIS = os.environ.get("HERMES_CRON_TEST_REDIS", "redis://127.0.0.1:6379/0")
JOBS = 3
_DELIVERED = re.compile(r"job_id=(\S+) fire_at=(\S+) late=([0-9.]+)s")


def told(name: str, values: Sequence[float]) -> str:
    """p50, p99 and max in milliseconds."""
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return (
        f"  {name:<24} p50 {statistics.median(ordered) * 1000:7.1f} ms   p99 {p99 * 1000:7.1f} ms   "
        f"max {ordered[-1] * 1000:7.1f} ms   ({len(ordered)} fires)"
    )


def main() -> None:
    """Run it, and print what was measured."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with tempfile.TemporaryDirectory() as folder:
        system = System(Path(folder), REDIS)
        second = listen("127.0.0.1:0")
        try:
            system.start_nas()
            system.start_web(0)
            system.start_web(1, second)
            system.start_worker(0)
            system.start_worker(1)
            system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")
            for number in range(JOBS):
                system.add(f"job-{number}", "every 1s")
            warm = datetime.now().astimezone() + timedelta(seconds=5)
            time.sleep(seconds + 5)
            runs = [run for run in system.store.runs(limit=100_000) if run.started_at and run.fire_at > warm]
            sent = {(job, at): float(late) for job, at, late in _DELIVERED.findall(system.log("nas"))}
            late = [(run.started_at - run.fire_at).total_seconds() for run in runs if run.started_at]
            after = [
                (run.started_at - run.fire_at).total_seconds() - sent[run.job_id, run.key]
                for run in runs if run.started_at and (run.job_id, run.key) in sent
            ]  # fmt: skip
            print(f"{JOBS} jobs every second, {seconds:g} s, load {os.getloadavg()[0]:.1f}")
            print(told("instant to start", late))
            if after:
                print(told("sent by NAS to start", after))
        finally:
            system.close()
            second.close()


if __name__ == "__main__":
    main()
