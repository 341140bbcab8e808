"""`MemoryStore`: a store that is a dictionary, at the time of a clock that is handed in."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from hermes_cron.chapter import Chapter, next_chapter
from hermes_cron.clock import EPOCH, Clock
from hermes_cron.contract import SENTINEL_PREFIX
from hermes_cron.errors import StoreError
from hermes_cron.interfaces import Load, R, Step
from hermes_cron.job import JobState
from hermes_cron.ledger import Entry, FireState, Keep, Place
from hermes_cron.output import KEPT_IN_ALL, KEPT_PER_JOB, Output
from hermes_cron.record import Moment, Record
from hermes_cron.rules.trim import chapters_left, last_instant, to_trim
from hermes_cron.run import Run


class MemoryStore:
    """Implements `hermes_cron.interfaces.Store`, and keeps nothing beyond its process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stopped = False
        self._lock = threading.RLock()
        self._records: dict[str, Record] = {}
        self._settled: dict[tuple[str, str], Entry] = {}
        self._ended: dict[str, Run] = {}
        self._chapters: list[Chapter] = []
        self._outputs: dict[str, tuple[str, Output]] = {}
        self._trims: dict[str, datetime] = {}

    def change(self, job_id: str, step: Step[R]) -> R:
        """Apply one step to one job, atomically."""
        with self._lock:
            moment = Moment(self._clock(), self._stopped)
            before = self._records.get(job_id) or Record(job_id)
            after, answer = step(before, moment)
            if after is not before:
                self._save(before, after, moment)
            return answer

    def _save(self, before: Record, after: Record, moment: Moment) -> None:
        entries, runs = _changed(before.entries, after.entries), _changed(before.runs, after.runs)
        # I12: what has its outcome is not written again, whatever a step says.
        again = [entry.key for entry in entries if (entry.job_id, entry.key) in self._settled]
        again += [run.id for run in runs if run.id in self._ended]
        if again:
            raise StoreError(f"{', '.join(again)} of {after.job_id} has its outcome already, which never changes.")
        self._settled.update({(entry.job_id, entry.key): entry for entry in entries if not entry.open})
        self._ended.update({run.id: run for run in runs if not run.open})
        if before.job is not after.job:
            chapter = next_chapter(before.job, after.job, moment.now)
            if chapter is not None:
                self._chapters.append(chapter)
        kept = after
        if entries or runs:
            open_runs = tuple(sorted(after.open_runs, key=lambda run: run.fence))
            waiting = tuple(sorted((e for e in after.entries if e.open), key=lambda e: (e.fire_at, e.key)))
            kept = Record(after.job_id, after.job, after.arm, open_runs, waiting)
        if kept.blank and not kept.runs and not kept.entries:
            self._records.pop(after.job_id, None)
        else:
            self._records[after.job_id] = kept

    def overdue(self, limit: int) -> Sequence[str]:
        """Ids of jobs that need a claim now: a wake has come, or an open run's lease is dead. Oldest first."""
        with self._lock:
            now = self._clock()
            found = [] if self._stopped else [(at, job_id) for job_id, at in self._reasons() if at <= now]
            return list(dict.fromkeys(job_id for _, job_id in sorted(found)))[:limit]

    def _reasons(self) -> Iterator[tuple[str, datetime]]:
        for job_id, record in self._records.items():
            if record.arm.wake_at is not None and not job_id.startswith(SENTINEL_PREFIX):
                yield job_id, record.arm.wake_at
            for run in record.runs:
                yield job_id, run.lease_until or EPOCH

    def next_reason(self) -> datetime | None:
        """The earliest instant at which `overdue` has something that it has not now; None when there is none."""
        with self._lock:
            now = self._clock()
            later = () if self._stopped else (at for _, at in self._reasons() if at > now)
            return min(later, default=None)

    def wanted(self, limit: int) -> Sequence[str]:
        """Ids (sentinels too) whose arm is wanted, the earliest wake first. While stopped: none but disarms."""
        with self._lock:
            found = [(r.arm.wake_at or datetime.max.replace(tzinfo=EPOCH.tzinfo), r.job_id) for r in self._wanted()]
            return [job_id for _, job_id in sorted(found)][:limit]

    def _wanted(self) -> list[Record]:
        wanted = [record for record in self._records.values() if record.arm.wanted]
        return [record for record in wanted if not self._stopped or record.arm.wake_at is None]

    def next_wake(self) -> datetime | None:
        """The earliest wake of any job, sentinels not counted; None when there is none or everything is stopped."""
        with self._lock:
            if self._stopped:
                return None
            wakes = (r.arm.wake_at for k, r in self._records.items() if not k.startswith(SENTINEL_PREFIX))
            return min((at for at in wakes if at is not None), default=None)

    def load(self, within: float) -> Load:
        """What is running, waiting, wanted, and due within so many seconds."""
        with self._lock:
            now = self._clock()
            records = list(self._records.values())
            leases = [run.lease_until for record in records for run in record.runs]
            live = sum(1 for lease in leases if lease is not None and lease > now)
            waiting = [e for record in records for e in record.entries if e.state is FireState.WAITING]
            planned = [e.not_before for e in waiting if e.not_before is not None]
            jobs = [record.job for record in records if record.job is not None]
            until = now + timedelta(seconds=within)
            wanted = len(self._wanted())
            if self._stopped:
                return Load(live, wanted_arms=wanted)
            due = [job.next_fire_at for job in jobs if job.state is JobState.SCHEDULED and job.next_fire_at is not None]
            soon = sum(1 for at in (*due, *planned) if at <= until)
            return Load(live, len(leases) - live, len(waiting) - len(planned), soon, wanted)

    def set_stopped(self, stopped: bool) -> None:
        """Stop everything at every door, or end that."""
        with self._lock:
            self._stopped = stopped

    def now(self) -> datetime:
        """The time of the clock that was handed in."""
        return self._clock()

    def stopped(self) -> bool:
        """Whether everything is stopped."""
        return self._stopped

    def read(self, job_id: str) -> Record | None:
        """What is kept of one job; None if unknown."""
        return self._records.get(job_id)

    def jobs(self) -> Sequence[Record]:
        """All jobs, without sentinels and removed ones, by id."""
        return [record for record in self.arms() if record.known]

    def arms(self) -> Sequence[Record]:
        """All records, by id."""
        with self._lock:
            return [self._records[job_id] for job_id in sorted(self._records)]

    def fires(
        self, job_id: str | None = None, limit: int = 100, states: Collection[FireState] = (),
        before: Place | None = None,
    ) -> Sequence[Entry]:  # fmt: skip
        """The ledger, newest first: of these states only, if any are given, and only what stands behind `before`."""
        with self._lock:
            entries = [*self._settled.values(), *(e for record in self._records.values() for e in record.entries)]
        found = [e for e in entries if job_id in (None, e.job_id) and (not states or e.state in states)]
        behind = [e for e in found if before is None or _order(e.place) < _order(before)]
        return sorted(behind, key=lambda e: _order(e.place), reverse=True)[:limit]

    def fire(self, job_id: str, key: str) -> Entry | None:
        """The fire with this key of this job, open or settled; None where the ledger has none."""
        with self._lock:
            return self._settled.get((job_id, key)) or self._records.get(job_id, Record(job_id)).entry(key)

    def runs(self, job_id: str | None = None, run_id: str | None = None, limit: int = 100) -> Sequence[Run]:
        """Runs, open and ended, newest first."""
        with self._lock:
            runs = [*self._ended.values(), *(run for record in self._records.values() for run in record.runs)]
            found = [run for run in runs if job_id in (None, run.job_id) and run_id in (None, run.id)]
            return sorted(found, key=lambda run: (run.claimed_at or EPOCH, run.fence), reverse=True)[:limit]

    def runs_of(self, entries: Collection[Entry]) -> Sequence[Run]:
        """All runs of these fires, open and ended, in no order."""
        names = {(entry.job_id, entry.key) for entry in entries}
        with self._lock:
            runs = [*self._ended.values(), *(run for record in self._records.values() for run in record.runs)]
        return [run for run in runs if (run.job_id, run.key) in names]

    def keep_output(
        self, run: Run, output: Output, *, per_job: int = KEPT_PER_JOB, in_all: int = KEPT_IN_ALL
    ) -> None:  # fmt: skip
        """Keep what an ended run said, once, and let go what is too old."""
        with self._lock:
            if run.id not in self._ended or run.id in self._outputs:
                return
            self._outputs[run.id] = run.job_id, output
            of_job = [run_id for run_id, (job_id, _) in self._outputs.items() if job_id == run.job_id]
            for run_id in {*of_job[:-per_job], *list(self._outputs)[:-in_all]}:
                del self._outputs[run_id]

    def output(self, run_id: str) -> Output | None:
        """What a run said; None where nothing is kept."""
        return self._outputs.get(run_id, ("", None))[1]

    def chapters(self, job_id: str | None = None) -> Sequence[Chapter]:
        """What was due when, by job, oldest first; removed jobs' too."""
        with self._lock:
            found = [chapter for chapter in self._chapters if job_id in (None, chapter.job_id)]
            return sorted(found, key=lambda chapter: chapter.job_id)

    def trim(self, keep: Keep, limit: int = 500) -> int:
        """Forget the oldest of what `rules.trim` lets go, with its runs and what they said; how many fires went."""
        went = 0
        with self._lock:
            for job_id in sorted({chapter.job_id for chapter in self._chapters}):
                went += 0 if keep.for_ever else self._trim_job(job_id, keep, limit - went)
        return went

    def _trim_job(self, job_id: str, keep: Keep, limit: int) -> int:
        record = self._records.get(job_id) or Record(job_id)
        entries = [*record.entries, *(entry for entry in self._settled.values() if entry.job_id == job_id)]
        found = to_trim(entries, keep, self._clock(), gone=record.job is None)[: max(0, limit)]
        for run in self.runs_of(found):
            del self._ended[run.id]
            self._outputs.pop(run.id, None)
        for entry in found:
            del self._settled[job_id, entry.key]
            self._trims[job_id] = max(last_instant(entry), self._trims.get(job_id, last_instant(entry)))
        own = self.chapters(job_id)
        left = chapters_left(own, self._trims.get(job_id, EPOCH))
        if record.job is None and len(found) == len(entries) and own[-1].at < self._clock() - keep.span:
            left = ()
            self._trims.pop(job_id, None)
        self._chapters = [chapter for chapter in self._chapters if chapter.job_id != job_id or chapter in left]
        return len(found)

    def trims(self) -> Mapping[str, datetime]:
        """Up to which instant each job's ledger was trimmed."""
        with self._lock:
            return dict(self._trims)

    def hand_over(self) -> tuple[Sequence[Entry], Sequence[Run]]:
        """What was settled and ended since the last time, which is from now on kept no longer."""
        with self._lock:
            over = list(self._settled.values()), list(self._ended.values())
            self._settled, self._ended = {}, {}
            return over

    def close(self) -> None:
        """Nothing to give back."""


def _order(place: Place) -> tuple[datetime, str, str]:
    return place.fire_at, place.job_id, place.key


def _changed(old: tuple[R, ...], new: tuple[R, ...]) -> list[R]:
    return [] if old is new else [value for value in new if not any(value is known for known in old)]
