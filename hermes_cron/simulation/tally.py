"""`Tally`: what a simulation came to, by job and in all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from hermes_cron.ledger import Entry, FireState
from hermes_cron.run import Run, RunState


@dataclass(slots=True)
class Line:
    """One job: its fires by outcome, runs that were begun, taken over, and how late the first run of a fire was."""

    outcomes: Counter[FireState] = field(default_factory=Counter)
    runs: int = 0
    again: int = 0
    latest_s: float = 0.0
    undecided: int = 0
    """Fires that came due and that nobody had looked at when the time was over."""

    def count(self, state: FireState, fires: int = 1) -> None:
        """Fires with this outcome."""
        self.outcomes[state] += fires

    def begin(self, late_s: float, runs: int = 1) -> None:
        """Runs that began so late."""
        self.runs += runs
        self.latest_s = max(self.latest_s, late_s)


@dataclass(slots=True)
class Tally:
    """Everything that was counted."""

    lines: defaultdict[str, Line] = field(default_factory=lambda: defaultdict(Line))
    cold_starts: int = 0
    awake_s: float = 0.0
    arms: int = 0
    """Provisions and cancels that NAS carried out for jobs, and `rungs` those for sentinels."""
    rungs: int = 0
    lists: int = 0
    sentinels: int = 0
    """Fires of sentinels: how often the ladder had to help."""
    outages: int = 0
    given_up: int = 0
    """Fires that NAS gave up."""
    crashes: int = 0
    lost: int = 0
    dead_since: datetime | None = None
    """Since when nothing was armed any more though a job had a wake, and nobody was awake."""

    def take(self, entries: Iterable[Entry], runs: Iterable[Run]) -> None:
        """Count what was settled."""
        for entry in entries:
            self.lines[entry.job_id].count(entry.state, entry.count or 0)
        for run in runs:
            line = self.lines[run.job_id]
            if run.started_at is not None:
                line.begin((run.started_at - run.fire_at).total_seconds() if run.attempt == 1 else 0.0)
            line.again += run.state is RunState.ABANDONED
