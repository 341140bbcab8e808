"""One job in Redis: its keys, read as a `Record`, and the commands that write what a step changed of it.

Under the store's prefix stand: `job:ID` (a hash: the job, its arm, and a version that every write renews),
`open-runs:ID` and `open-fires:ID` (sets), and for all jobs `runs` and `fires` (hashes with every row, as JSON). The
rest are indexes, sorted by an instant: `wakes`, `wanted` and `due` of jobs, `leases` of open runs, `retries` of fires
(`waiting`: a set), `runs-at` of all runs, also per job, and `fires-in:STATE` of all fires, also per job: each fire
stands in the two of its state, and the ledger is read from those of the states that are asked for, merged. `jobs`,
`arms` and `chapters` are sorted by id, `runs-of:ID` by the key of the fire, and `chapters:ID` are lists. `trims` (a
hash) has up to which instant a job's ledger was trimmed. What runs said is in `outputs` (a hash), and `outputs-at`,
also per job, has the order in which it was kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from hermes_cron.arm import Arm
from hermes_cron.chapter import Chapter, next_chapter
from hermes_cron.clock import to_micros
from hermes_cron.contract import SENTINEL_PREFIX
from hermes_cron.errors import StoreError
from hermes_cron.job import Job, JobState
from hermes_cron.ledger import OPEN, Entry, FireState
from hermes_cron.record import Moment, Record
from hermes_cron.run import Run
from hermes_cron.store import rows

V = TypeVar("V", Run, Entry)
T = TypeVar("T")
Command = list[str]
"""A command of Redis; its second word is a key, without the store's prefix."""

_NEVER = "+inf"
"""Where an arm stands among the wanted ones that is to be disarmed."""

_BETWEEN = "\0"
"""Parts an id from a row's own name; `rows.clean` keeps it out of both."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one id: the record, the rows of its job and arm (None: it has none), and their version."""

    record: Record
    job: rows.Kept | None
    arm: rows.Kept | None
    version: str

    @property
    def unknown(self) -> bool:
        """Whether nothing at all is kept of it."""
        return self.job is None and self.arm is None and not self.record.runs and not self.record.entries


def kept_from(job_id: str, answer: Sequence[Any]) -> Kept:
    """What the scripts' `kept` tells of one id.

    Raises:
        StoreError: One of its rows cannot be read.
    """
    version, job_text, arm_text, runs, fires = answer
    job = None if job_text is None else _row(job_text, "job", job_id)
    arm = None if arm_text is None else _row(arm_text, "arm", job_id)
    record = Record(
        job_id,
        None if job is None else _value(rows.job_from, job, "job", job_id),
        Arm() if arm is None else _value(rows.arm_from, arm, "arm", job_id),
        *in_order([run_from(text, job_id) for text in runs], [entry_from(text, job_id) for text in fires]),
    )
    return Kept(record, job, arm, version or "")


def in_order(runs: list[Run], entries: list[Entry]) -> tuple[tuple[Run, ...], tuple[Entry, ...]]:
    """A record's runs and fires as a store gives them."""
    runs = sorted(runs, key=lambda run: (run.fence, run.id))
    return tuple(runs), tuple(sorted(entries, key=lambda e: (e.fire_at, e.key)))


def job_from(text: str | None, name: str) -> Job:
    """The job of a row; raises StoreError when it cannot be read."""
    return _value(rows.job_from, _row(text, "job", name), "job", name)


def arm_from(text: str | None, name: str) -> Arm:
    """The arm of a row; raises StoreError when it cannot be read."""
    return _value(rows.arm_from, _row(text, "arm", name), "arm", name)


def run_from(text: str | None, name: str) -> Run:
    """The run of a row; raises StoreError when it cannot be read."""
    return _value(rows.run_from, _row(text, "run", name), "run", name)


def entry_from(text: str | None, name: str) -> Entry:
    """The ledger's entry of a row; raises StoreError when it cannot be read."""
    return _value(rows.entry_from, _row(text, "fire", name), "fire", name)


def chapter_from(text: str | None, name: str) -> Chapter:
    """The chapter of a row; raises StoreError when it cannot be read."""
    return _value(rows.chapter_from, _row(text, "chapter", name), "chapter", name)


def job_of(member: str) -> str:
    """The job of a run or fire in an index."""
    return member.partition(_BETWEEN)[0]


def name_of(member: str) -> str:
    """What a run or fire is called within its index."""
    return member.rpartition(_BETWEEN)[2]


def changes(kept: Kept, record: Record, moment: Moment, version: str) -> tuple[list[list[str]], list[Command]]:
    """The runs and fires that a step wrote, and the commands that write them and all that follows from the record."""
    runs, entries = _changed(kept.record.runs, record.runs), _changed(kept.record.entries, record.entries)
    written = [["runs", rows.clean(run.id)] for run in runs]
    written += [["fires", _member(record.job_id, entry.key)] for entry in entries]
    commands = [*_head(kept, record, version), *_indexes(record)]
    chapter = next_chapter(kept.record.job, record.job, moment.now)
    if chapter is not None:
        commands.append(["ZADD", "chapters", "0", record.job_id])
        commands.append(["RPUSH", f"chapters:{record.job_id}", _text(rows.chapter_row(chapter))])
    for run in runs:
        commands += _run_commands(record.job_id, run)
    for entry in entries:
        commands += _entry_commands(record.job_id, entry)
    return written, commands


def _head(kept: Kept, record: Record, version: str) -> list[Command]:
    key = f"job:{record.job_id}"
    if record.blank and not _open_after(kept.record, record):
        return [["DEL", key]]
    commands = [["HSET", key, "version", version]]
    if record.job is None:
        commands.append(["HDEL", key, "job"])
    elif record.job is not kept.record.job:
        commands.append(["HSET", key, "job", _text(rows.job_row(record.job, kept.record.job, kept.job))])
    if record.blank:
        commands.append(["HDEL", key, "arm"])
    elif kept.arm is None or record.arm is not kept.record.arm:
        commands.append(["HSET", key, "arm", _text(rows.arm_row(record.job_id, record.arm))])
    return commands


def _open_after(before: Record, after: Record) -> bool:
    """Whether a run or fire is open once the step is written: what it does not speak of stays as it was."""
    values: list[Run | Entry] = [*before.runs, *before.entries, *after.runs, *after.entries]
    latest = {(type(value), _name(value)): value for value in values}
    return any(value.open for value in latest.values())


def _indexes(record: Record) -> list[Command]:
    """Where a job stands in each index: written with every change, so that an index mends itself."""
    job, arm, job_id = record.job, record.arm, record.job_id
    visible = job is not None and job.state is not JobState.REMOVED
    next_fire_at = job.next_fire_at if job is not None and job.state is JobState.SCHEDULED else None
    wanted = arm.wanted and not record.blank
    return [
        _placed("jobs", job_id, "0" if visible else None),
        _placed("arms", job_id, None if record.blank else "0"),
        _placed("wakes", job_id, None if job_id.startswith(SENTINEL_PREFIX) else _score(arm.wake_at)),
        _placed("wanted", job_id, (_score(arm.wake_at) or _NEVER) if wanted else None),
        _placed("due", job_id, _score(next_fire_at)),
    ]


def _run_commands(job_id: str, run: Run) -> list[Command]:
    run_id = rows.clean(run.id)
    member, claimed_at = _member(job_id, run.id), _score(run.claimed_at) or "0"
    return [
        ["HSET", "runs", run_id, _text(rows.run_row(run))],
        ["ZADD", "runs-at", claimed_at, run_id],
        ["ZADD", f"runs-at:{job_id}", claimed_at, run_id],
        ["ZADD", f"runs-of:{job_id}", "0", f"{rows.clean(run.key)}{_BETWEEN}{run_id}"],
        ["SADD" if run.open else "SREM", f"open-runs:{job_id}", run_id],
        # A run without a lease is dead, and was from the beginning.
        _placed("leases", member, (_score(run.lease_until) or "0") if run.open else None),
    ]


def _entry_commands(job_id: str, entry: Entry) -> list[Command]:
    member, fire_at = _member(job_id, entry.key), _score(entry.fire_at) or "0"
    waits = entry.state is FireState.WAITING
    return [
        ["HSET", "fires", member, _text(rows.entry_row(entry))],
        *_placed_by_state(job_id, entry.state, fire_at, member),
        ["SADD" if entry.open else "SREM", f"open-fires:{job_id}", member],
        ["SADD" if waits and entry.not_before is None else "SREM", "waiting", member],
        _placed("retries", member, _score(entry.not_before) if waits else None),
    ]


def _placed_by_state(job_id: str, state: FireState, fire_at: str, member: str) -> list[Command]:
    # Out of where it may have stood, into where it stands; what has its outcome never moves again.
    left = [["ZREM", index, member] for old in sorted(OPEN - {state}) for index in by_state(old, job_id)]
    return left + [["ZADD", index, fire_at, member] for index in by_state(state, job_id)]


def by_state(state: FireState, job_id: str) -> tuple[str, str]:
    """The two indexes of the ledger in which a fire of this state stands: of all jobs, and of its own."""
    return f"fires-in:{state}", f"fires-in:{state}:{job_id}"


def _placed(index: str, member: str, score: str | None) -> Command:
    return ["ZREM", index, member] if score is None else ["ZADD", index, score, member]


def _score(instant: datetime | None) -> str | None:
    return None if instant is None else str(to_micros(instant))


def member_of(job_id: str, key: str) -> str:
    """What a fire is called in the indexes and in `fires`."""
    return _member(rows.clean(job_id), key)


def _member(job_id: str, name: str) -> str:
    return f"{job_id}{_BETWEEN}{rows.clean(name)}"


def _changed(old: tuple[V, ...], new: tuple[V, ...]) -> list[V]:
    before = {_name(value): value for value in old}
    latest = {_name(value): value for value in new}
    return [value for name, value in latest.items() if before.get(name) is not value and before.get(name) != value]


def _name(value: Run | Entry) -> str:
    return value.id if isinstance(value, Run) else value.key


def _value(read: Callable[[rows.Kept], T], row: rows.Row, what: str, name: str) -> T:
    try:
        return read(row)
    except KeyError as error:
        raise _damaged(what, name) from error


def _text(row: rows.Row) -> str:
    return json.dumps(row, separators=(",", ":"))


def _row(text: str | None, what: str, name: str) -> rows.Row:
    try:
        row = json.loads(text or "")
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise _damaged(what, name)
    return row


def _damaged(what: str, name: str) -> StoreError:
    return StoreError(f"The store's row of {what} {name!r} was damaged, or has gone.", hint="Restore a backup of it.")
