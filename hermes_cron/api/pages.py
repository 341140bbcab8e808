"""Pages of what is sorted by id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from hermes_cron.api.answers import Refusal
from hermes_cron.browse import cursor_of, place_of

T = TypeVar("T")


def page_by_id(
    items: Sequence[T], id_of: Callable[[T], str], limit: int, cursor: str | None
) -> tuple[Sequence[T], str | None]:  # fmt: skip
    """One page of items that are sorted by id, and the cursor of the page after it, if there is more.

    Raises:
        Refusal: The cursor is none of ours (400).
    """
    try:
        after = place_of(cursor, 1)[0] if cursor is not None else ""
    except ValueError as error:
        raise no_cursor() from error
    rest = [item for item in items if id_of(item) > after]
    page = rest[:limit]
    return page, cursor_of(id_of(page[-1])) if len(rest) > limit else None


def no_cursor() -> Refusal:
    """What is answered to a cursor that is none of ours."""
    return Refusal(400, "query_invalid", "cursor is none of ours.", field="cursor")
