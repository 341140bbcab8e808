"""What the ledger need not keep of one job. No step ever reads a settled fire, so to forget one changes no decision."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from hermes_cron.chapter import Chapter
from hermes_cron.ledger import DEAD_LETTER, Entry, Keep


def to_trim(entries: Sequence[Entry], keep: Keep, now: datetime, *, gone: bool) -> list[Entry]:
    """Those of a job's fires that may go, the oldest first; `gone` tells that there is no such job any more.

    What is open stays, and what was settled lately. Of a job that is there its newest fires stay besides, and of its
    dead letter the newest of that: these can still be replayed. Fires of one instant stay or go together.
    """
    if keep.for_ever:
        return []
    dead = [entry for entry in entries if entry.state in DEAD_LETTER]
    found = []
    for entry in sorted(entries, key=lambda entry: (entry.fire_at, entry.key)):
        lately = entry.open or entry.settled_at is None or entry.settled_at >= now - keep.span
        beside, most = (dead, keep.dead) if entry.state in DEAD_LETTER else (entries, keep.fires)
        if not lately and (gone or sum(1 for other in beside if other.fire_at > entry.fire_at) >= most):
            found.append(entry)
    return found


def last_instant(entry: Entry) -> datetime:
    """Up to when a row of the ledger speaks: from there back the ledger is not whole once it is trimmed."""
    return entry.last_at or entry.fire_at


def chapters_left(chapters: Sequence[Chapter], until: datetime) -> Sequence[Chapter]:
    """A job's chapters without those that tell of nothing after `until`: a chapter ends where the next begins."""
    over = sum(1 for _, later in pairwise(chapters) if later.at <= until)
    return chapters[over:]
