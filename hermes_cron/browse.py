"""Look through the ledger page by page, for who asks over HTTP: by program or by eye."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hermes_cron.client import Client
from hermes_cron.clock import instant_text, read_instant
from hermes_cron.ledger import Entry, FireState
from hermes_cron.run import Run

_SLACK = 50
_DEEPEST = 100_000
_MOST_RUNS = 10_000


def cursor_of(*place: str) -> str:
    """The cursor of the page that begins after this place: nothing that anybody need understand."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def place_of(cursor: str, parts: int) -> tuple[str, ...]:
    """The place a cursor stands for.

    Raises:
        ValueError: It is no cursor of ours.
    """
    try:
        found = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except RecursionError as error:
        raise ValueError("it is no cursor") from error
    if not isinstance(found, list) or len(found) != parts or not all(isinstance(part, str) for part in found):
        raise ValueError("it is no cursor")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the ledger, and the cursor of the page after it; None at the end."""

    entries: Sequence[Entry]
    after: str | None


def ledger_page(
    client: Client, job_id: str | None = None, states: Sequence[FireState] = (), limit: int = 50,
    cursor: str | None = None,
) -> Page:  # fmt: skip
    """One page of the ledger, the newest fires first.

    The store gives the newest so many; so a page further back costs what lies before it, and new fires move nothing.

    Raises:
        ValueError: The cursor is none of ours, or further back than is looked through.
    """
    after, seen = _read_cursor(cursor)
    window = seen + limit + _SLACK
    while True:
        found = client.fires(job_id, window, states)
        whole = len(found) < window
        # At the end of a full window, fires of the very same instant may be missing.
        sure = found if whole else [entry for entry in found if entry.fire_at > found[-1].fire_at]
        rest = [entry for entry in sorted(sure, key=_place, reverse=True) if after is None or _place(entry) < after]
        if whole or len(rest) > limit:
            break
        if window > _DEEPEST:
            raise ValueError("it is too far back")
        window *= 2
    page = rest[:limit]
    return Page(page, _write_cursor(page[-1], seen + limit) if len(rest) > limit else None)


def runs_of(client: Client, job_id: str | None, entries: Sequence[Entry]) -> Sequence[Run]:
    """The runs of these fires; those of very old ones may be beyond what is looked through."""
    wanted = {(entry.job_id, entry.key) for entry in entries if entry.attempts}
    attempts = sum(entry.attempts for entry in entries)
    window = 100 + 2 * attempts
    while wanted:
        found = client.runs(job_id, window)
        runs = [run for run in found if (run.job_id, run.key) in wanted]
        if len(runs) >= attempts or len(found) < window or window >= _MOST_RUNS:
            return runs
        window *= 4
    return ()


def _place(entry: Entry) -> tuple[datetime, str, str]:
    """A total order, also of fires at one instant."""
    return entry.fire_at, entry.key, entry.job_id


def _write_cursor(last: Entry, seen: int) -> str:
    return cursor_of(instant_text(last.fire_at), last.key, last.job_id, str(seen))


def _read_cursor(cursor: str | None) -> tuple[tuple[datetime, str, str] | None, int]:
    if cursor is None:
        return None, 0
    fire_at, key, job_id, seen = place_of(cursor, 4)
    return (read_instant(fire_at), key, job_id), min(max(0, int(seen[:9])), _DEEPEST)
