"""Values to rows and back. Every field is kept; what only follows from others is written for the indexes."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from functools import lru_cache
from typing import Any

from hermes_cron.arm import Arm
from hermes_cron.chapter import Chapter
from hermes_cron.clock import from_micros, to_micros
from hermes_cron.errors import HermesCronError, StoreError
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import Entry, FireState
from hermes_cron.output import Output
from hermes_cron.policy import Policy
from hermes_cron.run import UNKEPT, Run, RunState
from hermes_cron.schedule import Schedule

Row = dict[str, Any]
"""Column names to what is to be kept in them."""

Kept = Mapping[Any, Any]
"""A row as the database gives it."""

_DEFINITION = ("task", "args", "schedule", "policy")
_JOB = tuple(f.name for f in fields(Job) if f.name not in _DEFINITION)
_ARM = tuple(f.name for f in fields(Arm))
_RUN = tuple(f.name for f in fields(Run) if f.name not in UNKEPT)
_ENTRY = tuple(f.name for f in fields(Entry))
_INSTANTS = frozenset(
    [
        "next_fire_at",
        "last_fire_at",
        "created_at",
        "wake_at",
        "armed_at",
        "armed_for",
        "owned_until",
        "fire_at",
        "claimed_at",
        "started_at",
        "ended_at",
        "lease_until",
        "guard_at",
        "deadline",
        "last_at",
        "not_before",
        "since",
        "settled_at",
        "at",
    ]
)
_TRUTHS = frozenset({"known", "void", "manual"})


def job_row(job: Job, kept: Job | None = None, kept_row: Kept | None = None) -> Row:
    """A job's row; its definition is written out anew only where it is not that of the job that is kept."""
    row = _row(job, _JOB)
    same = kept is not None and all(getattr(kept, name) == getattr(job, name) for name in _DEFINITION)
    row["definition"] = kept_row["definition"] if same and kept_row is not None else _definition_text(job)
    return row


def job_from(row: Kept) -> Job:
    """The job of a row.

    Raises:
        StoreError: The row was damaged, or was written by a newer version.
    """
    try:
        task, args, schedule, policy = _definition(row["definition"])
        values = _values(row, _JOB)
        values["state"] = JobState(values["state"])
        return Job(task=task, args=json.loads(args), schedule=schedule, policy=policy, **values)
    except (HermesCronError, ValueError, TypeError, KeyError) as error:
        raise _unreadable("job", row["id"], error) from error


def arm_row(job_id: str, arm: Arm) -> Row:
    """An arm's row."""
    row = _row(arm, _ARM)
    named = json.dumps([to_micros(instant) for instant in arm.named])
    return row | {"job_id": job_id, "named": named, "wanted": int(arm.wanted)}


def arm_from(row: Kept) -> Arm:
    """The arm of a row.

    Raises:
        StoreError: The row was damaged.
    """
    try:
        values = _values(row, _ARM)
        values["named"] = tuple(from_micros(micros) for micros in json.loads(row["named"]))
        return Arm(**values)
    except (ValueError, TypeError, OverflowError) as error:
        raise _unreadable("arm", row["job_id"], error) from error


def run_row(run: Run) -> Row:
    """A run's row."""
    return _row(run, _RUN) | {"args": json.dumps(dict(run.args)), "open": int(run.open)}


def run_from(row: Kept) -> Run:
    """The run of a row.

    Raises:
        StoreError: The row was damaged.
    """
    try:
        values = _values(row, _RUN)
        values["state"] = RunState(values["state"])
        values["args"] = json.loads(values["args"])
        return Run(**values)
    except (ValueError, TypeError, OverflowError) as error:
        raise _unreadable("run", row["id"], error) from error


def output_from(text: str, run_id: str) -> Output:
    """What a run said.

    Raises:
        StoreError: The row was damaged, or was written by a newer version.
    """
    try:
        return Output.from_text(text)
    except ValueError as error:
        raise _unreadable("output", run_id, error) from error


def entry_row(entry: Entry) -> Row:
    """A fire's row in the ledger."""
    return _row(entry, _ENTRY) | {"open": int(entry.open)}


def entry_from(row: Kept) -> Entry:
    """The ledger's entry of a row.

    Raises:
        StoreError: The row was damaged.
    """
    try:
        values = _values(row, _ENTRY)
        values["counted"] = bool(values["counted"])
        values["state"] = FireState(values["state"])
        return Entry(**values)
    except (ValueError, TypeError, OverflowError) as error:
        raise _unreadable("fire", f"{row['job_id']}:{row['key']}", error) from error


def _row(value: object, names: tuple[str, ...]) -> Row:
    return {name: _kept(getattr(value, name)) for name in names}


def _kept(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_micros(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, enum.StrEnum):
        return value.value
    return clean(value) if isinstance(value, str) else value


def _values(row: Kept, names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: row[name] for name in names}
    for name in names:
        if name in _INSTANTS and values[name] is not None:
            values[name] = from_micros(values[name])
        elif name in _TRUTHS:
            values[name] = bool(values[name])
    return values


def chapter_row(chapter: Chapter) -> Row:
    """A chapter's row."""
    row = _row(chapter, ("job_id", "at", "state", "next_fire_at"))
    row["definition"] = json.dumps({"schedule": chapter.schedule.to_dict(), "policy": chapter.policy.to_dict()})
    return row


def chapter_from(row: Kept) -> Chapter:
    """The chapter of a row.

    Raises:
        StoreError: The row was damaged, or was written by a newer version.
    """
    try:
        data = json.loads(row["definition"])
        schedule, policy = Schedule.from_dict(data["schedule"]), Policy.from_dict(data["policy"])
        values = _values(row, ("job_id", "at", "next_fire_at"))
        return Chapter(**values, state=JobState(row["state"]), schedule=schedule, policy=policy)
    except (ArithmeticError, KeyError, TypeError, ValueError, HermesCronError) as error:
        raise _unreadable("chapter", row["job_id"], error) from error


def clean(text: str) -> str:
    """The text without what a database cannot keep: NUL and lone surrogates become U+FFFD.

    A task's error may hold either (a file name that is no UTF-8), and must not keep its run from being completed.
    """
    if text.isascii() and "\0" not in text:
        return text
    return "".join("\ufffd" if char == "\0" or "\ud800" <= char <= "\udfff" else char for char in text)


def _definition_text(job: Job) -> str:
    schedule, policy = job.schedule.to_dict(), job.policy.to_dict()
    return json.dumps({"task": job.task, "args": dict(job.args), "schedule": schedule, "policy": policy})


@lru_cache(maxsize=4096)
def _definition(text: str) -> tuple[str, str, Schedule, Policy]:
    """Task, arguments (as text, for they can be changed in place), schedule and policy of a definition's text."""
    data = json.loads(text)
    schedule, policy = Schedule.from_dict(data["schedule"]), Policy.from_dict(data["policy"])
    return data["task"], json.dumps(data["args"]), schedule, policy


def _unreadable(what: str, name: str, error: Exception) -> StoreError:
    hint = "It was damaged, or written by a newer hermes-cron."
    return StoreError(f"The store's row of {what} {name!r} cannot be read ({type(error).__name__}).", hint=hint)
