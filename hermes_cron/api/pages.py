"""Pages by cursor: a cursor says after which item the next page begins, and nothing that anybody need understand."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from hermes_cron.api.answers import Refusal

T = TypeVar("T")


def cursor_of(*place: str) -> str:
    """The cursor of the page that begins after this place."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def place_of(cursor: str, parts: int) -> tuple[str, ...]:
    """The place a cursor stands for.

    Raises:
        Refusal: It is no cursor of ours (400).
    """
    try:
        found = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _no_cursor() from error
    if not isinstance(found, list) or len(found) != parts or not all(isinstance(part, str) for part in found):
        raise _no_cursor()
    return tuple(found)


def page_by_id(
    items: Sequence[T], id_of: Callable[[T], str], limit: int, cursor: str | None
) -> tuple[Sequence[T], str | None]:  # fmt: skip
    """One page of items that are sorted by id, and the cursor of the page after it, if there is more."""
    after = place_of(cursor, 1)[0] if cursor is not None else ""
    rest = [item for item in items if id_of(item) > after]
    page = rest[:limit]
    return page, cursor_of(id_of(page[-1])) if len(rest) > limit else None


def _no_cursor() -> Refusal:
    return Refusal(400, "query_invalid", "cursor is none of ours.", field="cursor")
