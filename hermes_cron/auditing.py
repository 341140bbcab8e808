"""`audit_store`: an audit of a store, which reads of its ledger what the time in question has, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from hermes_cron.interfaces import Store
from hermes_cron.ledger import Entry, FireState, Place
from hermes_cron.rules.audit import Audit, audit

_PAGE = 200
_SEVERAL = (FireState.MISSED, FireState.SKIPPED, FireState.CANCELLED)
"""What a row may be that stands for adjacent fires, none of which ran."""


def audit_store(store: Store, since: datetime, until: datetime) -> Audit:
    """Recompute what was due from `since` to `until`, or to now, and hold the store's ledger against it (I12)."""
    until = min(until, store.now())
    undecided = {record.job_id: record.job.next_fire_at for record in store.jobs() if record.job}
    chapters = store.chapters()
    entries = list(_due_between(store, since, until))
    for job_id in dict.fromkeys(chapter.job_id for chapter in chapters):
        entries += _across(store, job_id, since)
    # Asked for last: what is trimmed while we read is then known to be.
    return audit(chapters, entries, undecided, since, until, store.trims())


def _due_between(store: Store, since: datetime, until: datetime) -> Iterator[Entry]:
    before = Place(until + timedelta(microseconds=1), "", "")
    while page := store.fires(limit=_PAGE, before=before):
        yield from (entry for entry in page if entry.fire_at >= since)
        if page[-1].fire_at < since:
            return
        before = page[-1].place


def _across(store: Store, job_id: str, since: datetime) -> Iterator[Entry]:
    """The row that began before `since`, if it speaks of fires after that, too."""
    before, limit = Place(since, "", ""), 1
    while page := store.fires(job_id, limit, _SEVERAL, before):
        # A job's fires are decided in their order, so the last row that began before is the only one that may.
        last = next((entry for entry in page if not entry.manual), None)
        if last is not None:
            yield last
            return
        before, limit = page[-1].place, _PAGE
