"""An entry of Celery beat, wherever it was kept, read into a job of ours: what maps, and what is lost on the way."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from hermes_cron.app import Declared
from hermes_cron.cli.beat_cron import cron_text
from hermes_cron.cli.foreign import Found
from hermes_cron.contract import is_job_id
from hermes_cron.grammar import LONGEST, every_text

CLEANUP = "celery.backend_cleanup"
_ODD = re.compile(r"[^A-Za-z0-9._:@-]+")
_EMPTY: tuple[object, ...] = (None, "", {}, [], ())


@dataclass(frozen=True, slots=True)
class When:
    """When an entry fires, in our words, and in whose zone; `why` not, where there are none."""

    text: str = ""
    zone: str | None = None
    why: str = ""
    notes: tuple[str, ...] = ()


def crontab_when(fields: Mapping[str, object], zone: str | None) -> When:
    """Of Celery's `crontab(...)`; None for the zone of the machine that beat ran on."""
    try:
        text, note = cron_text(fields)
    except ValueError as error:
        return When(why=str(error))
    clock = "" if zone else "it went by the clock of its machine; here it goes by that of its zone"
    return When(text, zone, notes=tuple(words for words in (note, clock) if words))


def interval_when(period: object, *, rounded: bool = False) -> When:
    """Of seconds, or of a timedelta; `rounded` is Celery's `relative`."""
    step = period if isinstance(period, timedelta) else _seconds(period)
    if step is None or step <= timedelta(0) or step % timedelta(seconds=1) or step > LONGEST:
        return When(why=f"its period, {period!r}, is no whole number of seconds above zero")
    notes = ("it is counted from when it is added, and no longer rounded (relative)",) if rounded else ()
    return When(every_text(step), notes=notes)


def clocked_when(instant: object, zone: str | None) -> When:
    """Of one instant, or of its text."""
    if isinstance(instant, datetime):
        return When(instant.isoformat(), zone)
    return When(instant, zone) if isinstance(instant, str) else When(why="its instant cannot be read")


def solar_when(event: object, latitude: object, longitude: object) -> When:
    """Of the sun: never."""
    where = f"{event} at {latitude}, {longitude}"
    return When(why=f"it follows the sun ({where}), which no schedule here does: add it at a fixed time")


def entry(
    name: str, task: object, when: When, *, args: object = (), kwargs: object = None,
    options: Mapping[str, Any] | None = None, policy: Mapping[str, Any] | None = None, paused: bool = False,
) -> Found:  # fmt: skip
    """The job of one entry; its positional arguments are given their names when its task is known."""
    found = Found(name)
    if not isinstance(task, str) or not task:
        return replace(found, why="it names no task")
    if task == CLEANUP:
        return replace(found, why="it cleans up results of Celery, and there are none here")
    if when.why:
        return replace(found, why=when.why)
    args, kwargs = () if args is None else args, {} if kwargs is None else kwargs
    if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping):
        return replace(found, why="its args are no list, or its kwargs no names with values")
    if lazy := [type(value).__name__ for value in [*args, *kwargs.values()] if callable(value)]:
        return replace(found, why=f"an argument is worked out anew for each fire ({lazy[0]}): let the task do that")
    taken, notes = _of_options(options or {})
    return replace(
        found, positional=tuple(args), lost=(*when.notes, *notes), paused=paused,
        declared=Declared(
            job_id_for(name), task, when.text, when.zone, args=dict(kwargs), policy={**taken, **(policy or {})}
        ),
    )  # fmt: skip


def job_id_for(name: str) -> str:
    """The id of an entry: its name, if it can be one; else what is left of it, and a mark, always the same."""
    if is_job_id(name) and not name.startswith("_"):
        return name
    plain = _ODD.sub("-", name).strip("-._")[:200] or "beat"
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _of_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[str]]:
    """The policies that options of a message come to, and what is to be known about that."""
    left = {name: value for name, value in options.items() if value not in _EMPTY}
    policy, notes = dict[str, Any](), list[str]()
    expires = left.pop("expires", None)
    if expires is not None:
        seconds = expires if isinstance(expires, timedelta) else _seconds(expires)
        name = "ends_at" if seconds is None else "grace"
        policy[name] = expires if seconds is None else seconds.total_seconds()
        notes.append(f"expires is its {name}")
    soft, hard = left.pop("soft_time_limit", None), left.pop("time_limit", None)
    if soft is not None or hard is not None:
        policy["timeout"] = hard if soft is None else soft
        notes.append(f"{'time_limit' if soft is None else 'soft_time_limit'} is its timeout")
        left |= {"time_limit": hard} if soft is not None and hard is not None else {}
    return policy, [*notes, *(f"{name} is not taken along" for name in left)]


def _seconds(value: object) -> timedelta | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        return None
