"""Look through the ledger page by page, for who asks over HTTP: by program or by eye."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hermes_cron.client import Client
from hermes_cron.clock import instant_text, read_instant
from hermes_cron.ledger import Entry, FireState, Place


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
    client: Client, job_id: str | None = None, states: Collection[FireState] = (), limit: int = 50,
    before: Place | None = None,
) -> Page:  # fmt: skip
    """One page of the ledger, the newest fires first; a page costs the same however far back it is."""
    found = client.fires(job_id, limit + 1, states, before)
    page = found[:limit]
    return Page(page, ledger_cursor(page[-1].place) if len(found) > limit else None)


def ledger_cursor(place: Place) -> str:
    """The cursor of the page of the ledger that begins behind this place."""
    return cursor_of(instant_text(place.fire_at), place.job_id, place.key)


def ledger_place(cursor: str | None) -> Place | None:
    """The place a cursor of the ledger stands for; None is the ledger's beginning.

    Raises:
        ValueError: It is none of ours.
    """
    if cursor is None:
        return None
    fire_at, job_id, key = place_of(cursor, 3)
    return Place(read_instant(fire_at), job_id, key)


def place_before(text: str) -> Place | None:
    """The place that an instant or a cursor of the ledger stands for: of an instant, before all fires of it.

    Raises:
        ValueError: It is neither.
    """
    try:
        return Place(read_instant(text), "", "")
    except ValueError:
        return ledger_place(text)
