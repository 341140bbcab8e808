"""`python -m tests.chaos --minutes 10 --store postgres --broker redis --seed 7`: hurt everything, then look.

Exit 0 only if no fire was lost, no outcome committed twice, no two leases of a job lived at once, nothing started
after a pause had returned, NAS holds what is wanted, and the audit is clean.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hermes_cron.client import Client
from hermes_cron.clock import utc_now
from hermes_cron.errors import HermesCronError, JobStateError, StoreError
from tests.chaos.faults import Script
from tests.chaos.verify import Paused, verify
from tests.chaos.world import Tender, World

JOBS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("mark-2", "every 2s", "mark", {}),
    ("mark-3", "*/3 * * * * *", "mark", {"misfire": "run_all(20)", "grace": 600}),
    ("mark-7", "every 7s", "mark", {"misfire": "skip"}),
    ("slow-skip", "every 3s", "slow", {"overlap": "skip"}),
    ("slow-queue", "every 4s", "slow", {"overlap": "queue"}),
    ("slow-replace", "every 5s", "slow", {"overlap": "replace"}),
    ("slow-allow", "every 4s", "slow", {"overlap": "allow"}),
    ("flaky", "every 6s", "flaky", {"max_attempts": 3, "backoff": 1.0}),
    ("after", "every 4s", "mark", {"anchor": "completion"}),
    ("bounded", "every 3s", "mark", {"repeat": 40}),
    ("timed", "every 8s", "slow", {"timeout": 2.0}),
    ("rerun", "every 6s", "slow", {"reruns": 3}),
]
BESIDE = {"slow-allow"}


class Operator:
    """Somebody who pauses, resumes, edits, runs and adds jobs all the while; what failed is tried again later."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.client = world.client()
        self.rng = rng
        self.pauses: list[Paused] = []
        self.open: dict[str, Paused] = {}
        self.acts = 0
        self.once = 0

    def add_all(self) -> None:
        for job_id, schedule, task, policy in JOBS:
            rest = {name: value for name, value in policy.items() if name != "anchor"}
            self.client.add(job_id, schedule, task, policy=rest, anchor=policy.get("anchor", "fire"))

    def act(self) -> None:
        """One thing that a person does."""
        job_id = self.rng.choice(JOBS)[0]
        act: Callable[[str], None] = self.rng.choice([self._pause, self._resume, self._run, self._edit, self._one_shot])
        try:
            act(job_id)
            self.acts += 1
        except (HermesCronError, OSError) as error:
            if not isinstance(error, JobStateError | StoreError):
                print(f"  operator: {type(error).__name__}: {error}", file=sys.stderr)

    def resume_all(self) -> None:
        for job_id in list(self.open):
            self._resume(job_id)

    def _pause(self, job_id: str) -> None:
        if job_id in self.open:
            return
        self.client.pause(job_id)
        self.open[job_id] = Paused(job_id, utc_now())

    def _resume(self, job_id: str) -> None:
        if job_id not in self.open:
            return
        paused = self.open.pop(job_id)
        paused.until = utc_now()
        self.pauses.append(paused)
        self.client.resume(job_id)

    def _run(self, job_id: str) -> None:
        self.client.run(job_id)

    def _edit(self, job_id: str) -> None:
        if job_id.startswith("mark") and job_id != "mark-3":
            self.client.update(job_id, schedule=f"every {self.rng.randint(2, 6)}s")

    def _one_shot(self, job_id: str) -> None:
        self.once += 1
        self.client.add(f"once-{self.once}", f"in {self.rng.randint(1, 20)}s", "mark")


def drain(world: World, client: Client, seconds: float) -> None:
    """Pause everything, and wait until nothing is left to do."""
    end = time.monotonic() + seconds
    for record in world.store.jobs():
        while record.job is not None and record.job.state == "scheduled":
            try:
                client.pause(record.job_id)
                break
            except JobStateError:
                break
            except HermesCronError:
                time.sleep(0.5)
    while time.monotonic() < end:
        load = world.store.load(0)
        if load.total == 0:
            return
        time.sleep(0.5)
    print(f"  still to do after {seconds:g} s: {world.store.load(0)}", file=sys.stderr)


def chaos(args: argparse.Namespace) -> dict[str, Any]:
    """One run of it; the report."""
    rng = random.Random(args.seed)
    home = Path(tempfile.mkdtemp(prefix="hermes-cron-chaos-", dir="/tmp"))
    world = World(home, "", store_kind=args.store, broker_kind=args.broker, random=random.Random(args.seed + 1))
    began = datetime.now(UTC)
    try:
        world.begin_all(args.workers)
        tender = Tender(world)
        operator = Operator(world, random.Random(args.seed + 2))
        operator.add_all()
        script = Script(world, rng)
        end = time.monotonic() + args.minutes * 60
        told = time.monotonic() + 30
        while time.monotonic() < end:
            script.step()
            operator.act()
            time.sleep(rng.uniform(0.2, args.pace))
            if time.monotonic() >= told:
                told += 30
                print(f"  {end - time.monotonic():5.0f} s left, {world.kills} kills", file=sys.stderr)
        script.mend(everything=True)
        world.heal()
        time.sleep(3)
        operator.resume_all()
        # With everything healed the jobs go on as if nothing had been: a while of that, then the end.
        time.sleep(args.calm)
        client = world.client()
        drain(world, client, 90)
        world.wait(lambda: not world.store.wanted(1), "every arm is confirmed", 30)
        verdict = verify(world, began, operator.pauses + list(operator.open.values()), BESIDE)
        tender.stop()
        report = {
            "good": verdict.good, "seed": args.seed, "minutes": args.minutes, "store": args.store,
            "broker": args.broker, "kills": world.kills, "faults": script.counts, "acts": operator.acts,
            "fires_due": verdict.audit.due, "runs": verdict.runs, "bodies": verdict.bodies,
            "outcomes": verdict.outcomes, "lost": verdict.lost[:20], "twice": verdict.twice[:20],
            "overlaps": verdict.overlaps[:20], "after_pause": verdict.after_pause[:20], "arms": verdict.arms[:20],
        }  # fmt: skip
    finally:
        world.close()
        if args.keep or not locals().get("report", {}).get("good"):
            print(f"  everything is in {home}", file=sys.stderr)
        else:
            shutil.rmtree(home, ignore_errors=True)
    return report


def main() -> int:
    """Read the command line, run, print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=["sqlite", "postgres", "redis"], default="sqlite")
    parser.add_argument("--broker", choices=["redis", "rabbitmq"], default="redis")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--pace", type=float, default=1.6, help="Seconds between two faults, at most.")
    parser.add_argument("--calm", type=float, default=20.0, help="Seconds without faults before the end.")
    parser.add_argument("--keep", action="store_true", help="Keep the folder with logs and stores.")
    report = chaos(parser.parse_args())
    print(json.dumps(report, indent=2))
    return 0 if report["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
