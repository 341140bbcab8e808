"""Hold the ledger against what was due: every due fire has exactly one outcome (I12), or the audit names it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from types import MappingProxyType

from hermes_cron.chapter import Chapter
from hermes_cron.ledger import Entry

NO_OUTCOME = "no outcome"
TWO_OUTCOMES = "two outcomes"
NOT_DUE = "an outcome of what was not due"
MISCOUNTED = "a row that counts other fires than were due"

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be."""

    job_id: str
    fire_at: datetime
    problem: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit came to: fires due, those with one outcome, those still open, and what is wrong.

    `begins` tells of which jobs the time reaches back before the kept ledger, and where that begins: what was due until
    then was trimmed, or may have been. It is neither counted nor missed.
    """

    jobs: int = 0
    due: int = 0
    settled: int = 0
    open: int = 0
    findings: tuple[Finding, ...] = ()
    begins: tuple[tuple[str, datetime], ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def audit(
    chapters: Iterable[Chapter], entries: Iterable[Entry], undecided: Mapping[str, datetime | None],
    since: datetime, until: datetime, trims: Mapping[str, datetime] = MappingProxyType({}),
) -> Audit:  # fmt: skip
    """Recompute from each job's chapters what was due from `since` to `until`, and hold the ledger against it.

    `undecided` tells the first fire of each job that no claim has decided yet: from there on none has an outcome.
    `trims` tells up to when each job's ledger was trimmed: from there on only can it be judged.
    """
    courses: defaultdict[str, list[Chapter]] = defaultdict(list)
    for chapter in chapters:
        courses[chapter.job_id].append(chapter)
    rows: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.manual:
            rows[entry.job_id].append(entry)
    total = Audit()
    for job_id in sorted(courses.keys() | rows.keys()):
        trimmed = trims.get(job_id)
        begins = () if trimmed is None or trimmed < since else ((job_id, trimmed + _MICROSECOND),)
        window = (begins[0][1] if begins else since, until)
        one = _audit_job(job_id, courses[job_id], rows[job_id], undecided.get(job_id), window)
        total = Audit(
            total.jobs + 1, total.due + one.due, total.settled + one.settled, total.open + one.open,
            (*total.findings, *one.findings), (*total.begins, *begins),
        )  # fmt: skip
    return total


def _audit_job(
    job_id: str, chapters: Sequence[Chapter], entries: Sequence[Entry], undecided: datetime | None,
    window: tuple[datetime, datetime],
) -> Audit:  # fmt: skip
    since, until = window
    due = list(_due(chapters, since, until))
    rows = sorted((e for e in entries if _last(e) >= since and e.fire_at <= until), key=lambda e: (e.fire_at, _last(e)))
    covered = dict.fromkeys(due, 0)
    findings = []
    unsettled = 0
    for row in rows:
        inside = _between(due, row.fire_at, _last(row))
        if row.fire_at >= since and _last(row) <= until:
            findings += _judged(row, len(inside))
        for at in inside:
            covered[at] += 1
        unsettled += len(inside) if row.open else 0
    for at, times in covered.items():
        if times > 1:
            findings.append(Finding(job_id, at, TWO_OUTCOMES))
        elif times == 0 and undecided is not None and at >= undecided:
            unsettled += 1
        elif times == 0:
            findings.append(Finding(job_id, at, NO_OUTCOME))
    missing = sum(1 for finding in findings if finding.problem == NO_OUTCOME)
    return Audit(1, len(due), len(due) - unsettled - missing, unsettled, tuple(findings))


def _judged(row: Entry, fires: int) -> list[Finding]:
    if fires == 0:
        return [Finding(row.job_id, row.fire_at, NOT_DUE)]
    wrong = row.count is not None and row.count != fires
    return [Finding(row.job_id, row.fire_at, MISCOUNTED)] if wrong else []


def _due(chapters: Sequence[Chapter], since: datetime, until: datetime) -> Iterator[datetime]:
    ends = [later.at for _, later in pairwise(chapters)]
    for chapter, end in zip(chapters, [*ends, until], strict=True):
        yield from chapter.due_between(since, min(end, until))


def _last(entry: Entry) -> datetime:
    return entry.last_at or entry.fire_at


def _between(due: Sequence[datetime], first: datetime, last: datetime) -> Sequence[datetime]:
    return due[bisect_left(due, first) : bisect_right(due, last)]
