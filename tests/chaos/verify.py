"""What must hold after the chaos, told from the store, the ledger, NAS and the outside history."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hermes_cron.ledger import OPEN
from hermes_cron.rules.audit import Audit, audit
from hermes_cron.run import Run, RunState
from tests.chaos.world import World

MOST = 10_000_000
FINAL = {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


@dataclass
class Paused:
    """When a pause (or a removal) returned, and when the job was next resumed."""

    job_id: str
    since: datetime
    until: datetime | None = None


@dataclass
class Verdict:
    """What was found; everything but the counts must be empty."""

    audit: Audit = field(default_factory=Audit)
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)
    after_pause: list[str] = field(default_factory=list)
    arms: list[str] = field(default_factory=list)
    runs: int = 0
    bodies: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.twice or self.overlaps or self.after_pause or self.arms)


def verify(world: World, since: datetime, pauses: list[Paused], beside: set[str]) -> Verdict:
    """Look at everything. `beside` are the jobs whose runs may overlap."""
    store = world.store
    now = store.now()
    undecided = {record.job_id: record.job.next_fire_at for record in store.jobs() if record.job}
    fires = store.fires(limit=MOST)
    runs = store.runs(limit=MOST)
    verdict = Verdict(audit(store.chapters(), fires, undecided, since, now), runs=len(runs))
    verdict.lost = [f"{f.job_id} {f.fire_at}: {f.problem}" for f in verdict.audit.findings]
    verdict.lost += [f"{fire.job_id} {fire.key}: still {fire.state}" for fire in fires if fire.state in OPEN]
    verdict.outcomes = dict(Counter(str(fire.state) for fire in fires))
    verdict.twice = _twice(runs)
    verdict.overlaps = _overlaps([run for run in runs if run.job_id not in beside])
    verdict.after_pause = _after_pause(runs, pauses)
    verdict.bodies = sum(1 for row in world.history() if row[1] in ("ran", "began", "tried"))
    wanted = {r.job_id: r.arm.wake_at for r in store.arms() if r.arm.wake_at and not r.job_id.startswith("_")}
    held = world.armed()
    verdict.arms = [f"{job_id}: NAS {held.get(job_id)}, wanted {wanted.get(job_id)}"
                    for job_id in held.keys() | wanted.keys() if held.get(job_id) != wanted.get(job_id)]  # fmt: skip
    return verdict


def _twice(runs: list[Run] | tuple[Run, ...]) -> list[str]:
    """Fires of which two runs wrote a final outcome that is no failed attempt before a retry."""
    ended = Counter((run.job_id, run.key) for run in runs if run.state in (RunState.SUCCEEDED, RunState.CANCELLED))
    return [f"{job_id} {key}: {count} outcomes" for (job_id, key), count in ended.items() if count > 1]


def _overlaps(runs: list[Run]) -> list[str]:
    """Two live leases of one job at a time, by the store's own clock."""
    by_job: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_job[run.job_id].append(run)
    found = []
    for job_id, mine in by_job.items():
        mine.sort(key=lambda run: run.fence)
        for earlier, later in itertools.pairwise(mine):
            if earlier.ended_at is None or (later.claimed_at is not None and earlier.ended_at > later.claimed_at):
                found.append(f"{job_id}: {earlier.id} until {earlier.ended_at}, {later.id} from {later.claimed_at}")
    return found


def _after_pause(runs: list[Run] | tuple[Run, ...], pauses: list[Paused]) -> list[str]:
    """I15: what started between the return of a pause and the next resume."""
    found = []
    for pause in pauses:
        until = pause.until or datetime.max.replace(tzinfo=UTC) - timedelta(days=1)
        for run in runs:
            if run.job_id == pause.job_id and run.started_at and pause.since < run.started_at < until:
                found.append(f"{run.id} started {run.started_at}, paused since {pause.since}")
    return found
