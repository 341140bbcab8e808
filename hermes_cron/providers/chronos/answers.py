"""What NAS answers, read with care: a status as an error, a list of arms, the items of a batch, its capabilities."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hermes_cron import contract
from hermes_cron.clock import read_instant, utc_now
from hermes_cron.errors import NasError, NasRefused
from hermes_cron.outbound import Answer
from hermes_cron.providers.chronos.standing import INVALID_CLIENT, UNAUTHORIZED

_LACKING = (404, 405, 501)
_ON_THEIR_WAY = (502, 504)
"""What a gateway answers that gave up waiting: the call behind it may still reach NAS."""
_OVER_QUOTA = "over_quota"
_QUOTA_AGAIN_S = 60.0
_MARGIN = timedelta(seconds=60)
_LONGEST = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What NAS can do: how many calls one batch takes (0: none), how far ahead it holds alarms, and how exactly."""

    batch: int = contract.BATCH_LIMIT
    horizon: timedelta | None = None
    precision: timedelta = timedelta(0)


class NasLacks(NasError):
    """A call that this NAS does not have at all."""


def error_in(answer: Answer, path: str) -> NasError | None:
    """The error that an answer stands for; None for a 2xx. An error that is `sent` may still have its effect later."""
    if answer.ok:
        return None
    said = _reason(answer)
    words = f"NAS answered {path} with {answer.status}{f' ({said})' if said else ''}"
    if answer.status == 401:
        return NasRefused(f"{words}: it does not know the access token.", reason=UNAUTHORIZED)
    if answer.status == 403 and said == INVALID_CLIENT:
        return NasRefused(f"{words}: it does not know this agent.", reason=INVALID_CLIENT)
    if answer.status == 400:
        return NasRefused(f"{words}.", reason=said or "bad_request")
    if answer.status in _LACKING:
        return NasLacks(f"{words}: it does not have this call.")
    if answer.status == 429 and said == _OVER_QUOTA:
        return _over_quota(words)
    after = answer.retry_after(utc_now()) if answer.status in (429, 503) else None
    return NasError(f"{words}.", sent=answer.status in _ON_THEIR_WAY, retry_after=after)


def page_in(answer: Answer) -> tuple[dict[str, datetime | None], str | None]:
    """One page of NAS's list, and the cursor of the next; an instant that cannot be read is None.

    Raises:
        NasError: It is no such page. It is never taken for an empty one: every arm would be thought lost.
    """
    body = json_in(answer)
    rows = body.get("armed") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(rows, list):
        raise NasError("NAS answered its list with something that cannot be read.")
    found: dict[str, datetime | None] = {}
    for row in rows:
        if isinstance(row, dict) and contract.is_job_id(row.get("job_id")):
            found[row["job_id"]] = _instant(row.get("fire_at"))
    cursor = body.get("next")
    return found, cursor if isinstance(cursor, str) and cursor else None


def items_in(answer: Answer, job_ids: Collection[str]) -> dict[str, NasError | None]:
    """What became of each call of a batch; those that the answer is silent about are left out."""
    body = json_in(answer)
    lists = [value for value in body.values() if isinstance(value, list)] if isinstance(body, dict) else []
    found: dict[str, NasError | None] = {}
    for item in (item for rows in lists for item in rows if isinstance(item, dict)):
        job_id = item.get("job_id")
        if isinstance(job_id, str) and job_id in job_ids:
            found[job_id] = _item_error(item)
    return found


def capabilities_in(answer: Answer) -> Capabilities:
    """What NAS says it can do; what it does not say, or says unreadably, is as by default."""
    body = json_in(answer)
    said = body if isinstance(body, dict) else {}
    batch, horizon = _number(said.get("batch")), _number(said.get("max_horizon_s"))
    return Capabilities(
        batch=contract.BATCH_LIMIT if batch is None else int(min(batch, contract.BATCH_LIMIT)),
        horizon=_reach(horizon) if horizon else None,
        precision=timedelta(seconds=min(_number(said.get("precision_s")) or 0.0, 1.0)),
    )


def json_in(answer: Answer) -> Any:
    """The JSON of an answer; None when it has none."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def _reach(seconds: float) -> timedelta:
    # A little short of it, for NAS's clock is not ours.
    whole = min(timedelta(seconds=min(seconds, 1e9)), _LONGEST)
    return whole - min(_MARGIN, whole / 100)


def _item_error(item: Mapping[str, Any]) -> NasError | None:
    status, said = item.get("status"), item.get("error")
    bad = isinstance(status, int) and not isinstance(status, bool) and not 200 <= status < 300
    if not bad and said is None and item.get("ok") is not False:
        return None
    reason = _clipped(said) or "refused"
    if status == 429 and reason == _OVER_QUOTA:
        return _over_quota("NAS refused one call of a batch")
    if bad and status not in (400, 403, 422):
        return NasError(f"NAS answered one call of a batch with {status} ({reason}).")
    return NasRefused(f"NAS refused one call of a batch ({reason}).", reason=reason)


def _over_quota(words: str) -> NasRefused:
    # It concerns new alarms alone, so it must hold up no other call, as another 429 does.
    error = NasRefused(f"{words}: this agent holds all the alarms it may have.", reason=_OVER_QUOTA)
    error.retry_after = _QUOTA_AGAIN_S
    return error


def _reason(answer: Answer) -> str:
    body = json_in(answer)
    said = body.get("error") if isinstance(body, dict) else None
    if isinstance(said, Mapping):
        said = said.get("code")
    return _clipped(said)


def _clipped(said: object) -> str:
    # It goes into logs and to people: one short line of plain signs.
    return "".join(char for char in said if char.isprintable())[:100] if isinstance(said, str) else ""


def _instant(text: object) -> datetime | None:
    try:
        return read_instant(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _number(value: object) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12
    return float(value) if good and isinstance(value, int | float) else None
