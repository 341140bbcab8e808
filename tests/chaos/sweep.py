"""`python -m tests.chaos.sweep --store postgres --broker rabbitmq`: die at every named place, once each, then look.

A worker (or a web) that carries a failpoint is started for each place, is seen to die there, and is followed by the
next. At the end sound ones take over; nothing may be lost, run twice to an outcome, or be armed otherwise than wanted.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hermes_cron.failpoints import NAMES
from tests.chaos.__main__ import drain
from tests.chaos.verify import verify
from tests.chaos.world import Tender, World

JOBS = (("mark", "every 1s", "mark"), ("slow", "every 5s", "slow"), ("flaky", "every 3s", "flaky"))


def sweep(store: str, broker: str, names: tuple[str, ...], seconds: float = 25) -> dict[str, Any]:
    """One sweep over these places; the report."""
    home = Path(tempfile.mkdtemp(prefix="hermes-cron-sweep-", dir="/tmp"))
    world = World(home, "", store_kind=store, broker_kind=broker, random=random.Random(1))
    began, died, report = datetime.now(UTC), [], {}
    try:
        world.begin_all(0)
        client = world.client()
        for job_id, schedule, task in JOBS:
            client.add(job_id, schedule, task, policy={"max_attempts": 2, "backoff": 0.5, "reruns": 50})
        for name in names:
            if _dies_at(world, name, seconds):
                died.append(name)
        tender = Tender(world)
        for number in range(2):
            world.keep(f"worker{number}", lambda number=number: world.start_worker(number))
        time.sleep(20)
        drain(world, client, 60)
        world.wait(lambda: not world.store.wanted(1), "every arm is confirmed", 30)
        verdict = verify(world, began, [], set())
        tender.stop()
        missed = [name for name in names if name not in died]
        report = {
            "good": verdict.good and not missed, "store": store, "broker": broker, "died_at": died,
            "not_reached": missed, "fires_due": verdict.audit.due, "runs": verdict.runs, "outcomes": verdict.outcomes,
            "lost": verdict.lost, "twice": verdict.twice, "overlaps": verdict.overlaps, "arms": verdict.arms,
        }  # fmt: skip
    finally:
        world.close()
        if report.get("good"):
            shutil.rmtree(home, ignore_errors=True)
        else:
            print(f"  everything is in {home}", file=sys.stderr)
    return report


def _dies_at(world: World, name: str, seconds: float) -> bool:
    """Start what carries the failpoint, and see it die by it."""
    if name.startswith("webhook"):
        return _web_dies_at(world, name, seconds)
    world.env["HERMES_CRON_FAILPOINTS"] = f"{name}:kill"
    worker = world.start_worker(9)
    world.env.pop("HERMES_CRON_FAILPOINTS")
    return _dead(worker, seconds)


def _web_dies_at(world: World, name: str, seconds: float) -> bool:
    # It is gunicorn's worker process that dies; its master starts another, which dies at the next fire.
    world.parts["web0"].down_until = world.parts["web1"].down_until = float("inf")
    for part in ("web0", "web1"):
        world.kill(part, 1e9)
    world.env["HERMES_CRON_FAILPOINTS"] = f"{name}:kill"
    web = world.start_web(0)
    world.env.pop("HERMES_CRON_FAILPOINTS")
    end = time.monotonic() + seconds
    try:
        while "SIGKILL" not in world.log("web0") and time.monotonic() < end:
            time.sleep(0.1)
        return "SIGKILL" in world.log("web0")
    finally:
        web.kill()
        web.wait()
        for part in ("web0", "web1"):
            world.parts[part].down_until = time.monotonic()
        world.tend()


def _dead(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        return process.wait(seconds) == -9
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        return False


def main() -> int:
    """Read the command line, run, print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.sweep", description=__doc__)
    parser.add_argument("--store", choices=["sqlite", "postgres", "redis"], default="sqlite")
    parser.add_argument("--broker", choices=["redis", "rabbitmq"], default="redis")
    parser.add_argument("--only", nargs="*", default=[])
    args = parser.parse_args()
    report = sweep(args.store, args.broker, tuple(args.only) or NAMES)
    print(json.dumps(report, indent=2))
    return 0 if report["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
