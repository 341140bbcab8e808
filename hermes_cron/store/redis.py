"""Redis: for small agents that have one anyway. What it acknowledged it may still lose, at a failover for instance.

A change reads its job and holds it for a moment (one script), lets the step decide, and writes (one script). The
holding is a courtesy, which spares others a vain try: it ends by itself after a second. What decides is the write:
it does nothing if the job or the flag of a global stop changed since the reading, or if it comes after the caller's
deadline. Each write leaves a receipt, by which a change is found again whose answer was lost.

Everything kept is in the server's memory. What grows is the ledger, by about 1.6 kB for a fire with its run, and the
chapters of jobs that are changed: neither is trimmed. What runs said is, to at most about 64 KiB for each of 20 runs of
a job and 5,000 of all.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import redis

from hermes_cron.arm import Arm
from hermes_cron.chapter import Chapter
from hermes_cron.clock import EPOCH, from_micros, monotonic, to_micros
from hermes_cron.errors import StoreError
from hermes_cron.failpoints import failpoint
from hermes_cron.interfaces import Load, R, Step
from hermes_cron.ledger import Entry, FireState, Keep, Place
from hermes_cron.output import KEPT_IN_ALL, KEPT_PER_JOB, Output
from hermes_cron.record import Moment, Record
from hermes_cron.run import Run
from hermes_cron.store import redis_rows, rows
from hermes_cron.store.redis_faults import Fault, fault_of
from hermes_cron.store.redis_server import Held, Server
from hermes_cron.store.redis_url import read_place

T = TypeVar("T")
_log = logging.getLogger("hermes_cron.store")

_MICROS = 1_000_000
_LONGEST_HOLD = 1 * _MICROS
"""How long a change may keep others off its job, for its process may have been killed; never as long as a deadline."""

_GATE = _MICROS // 4
_RECEIPT_MS = 60_000
_PAGE = 500
_JOBS_A_STEP = 50
"""How many jobs one step of trimming looks at, most often in vain."""


def open_redis(url: str, *, deadline: float) -> RedisStore:
    """The store on a Redis server.

    Raises:
        ConfigError: The URL cannot be read.
    """
    return RedisStore(Server(read_place(url), deadline), min(_LONGEST_HOLD, round(deadline / 3 * _MICROS)))


@dataclass(frozen=True, slots=True)
class _Hold:
    """A job that is held for a change: what is kept of it, and what must still be so when the change is written."""

    job_id: str
    kept: redis_rows.Kept
    moment: Moment
    epoch: str
    until: str
    latest: int


class RedisStore:
    """Implements `hermes_cron.interfaces.Store`; its methods raise StoreBusy and StoreError as told there."""

    def __init__(self, server: Server, hold_micros: int) -> None:
        self._server = server
        self._hold_micros = hold_micros

    def change(self, job_id: str, step: Step[R]) -> R:
        """Apply one step to one job, atomically and durably. A step may be tried again: it must be pure."""
        known = rows.clean(job_id)

        def attempt(until: float) -> R:
            hold = self._hold(known, until)
            try:
                record, answer = step(hold.kept.record, hold.moment)
            except BaseException:
                self._free(hold)
                raise
            if record is hold.kept.record:
                self._free(hold)
            elif not self._written(hold, record, until):
                raise Held
            return answer

        return self._server.within(attempt)

    def overdue(self, limit: int) -> Sequence[str]:
        """Ids of jobs that need a claim now: a wake has come, or an open run's lease is dead. Oldest first."""
        _, woken, dead = self._server.ask("overdue", max(0, limit))
        since: dict[str, float] = {}
        for job_id, at in [*_pairs(woken), *((redis_rows.job_of(member), at) for member, at in _pairs(dead))]:
            since[job_id] = min(at, since.get(job_id, at))
        return sorted(since, key=lambda job_id: (since[job_id], job_id))[: max(0, limit)]

    def wanted(self, limit: int) -> Sequence[str]:
        """Ids (sentinels too) whose arm is wanted, the earliest wake first. While stopped: none but disarms."""
        return list(self._server.ask("wanted", max(0, limit))[1])

    def next_wake(self) -> datetime | None:
        """The earliest wake of any job, sentinels not counted; None when there is none or everything is stopped."""
        found = _pairs(self._server.ask("next_wake")[1])
        return from_micros(int(found[0][1])) if found else None

    def load(self, within: float) -> Load:
        """What is running, waiting, wanted, and due within so many seconds."""
        return Load(*self._server.ask("load", round(within * _MICROS))[1:])

    def set_stopped(self, stopped: bool) -> None:
        """Stop everything at every door, or end that. Once this returns, no `begin` is granted (I15)."""
        self._server.ask("stop", int(stopped), _LONGEST_HOLD, _GATE)

    def now(self) -> datetime:
        """The store's own clock, which all of a store's users share."""
        return from_micros(int(self._server.ask("moment")[1]))

    def stopped(self) -> bool:
        """Whether everything is stopped."""
        return bool(self._server.ask("moment")[2])

    def read(self, job_id: str) -> Record | None:
        """What is kept of one job: its definition, its arm, its open runs and unsettled fires; None if unknown."""
        known = rows.clean(job_id)
        kept = redis_rows.kept_from(known, self._server.ask("read", known)[1])
        return None if kept.unknown else kept.record

    def jobs(self) -> Sequence[Record]:
        """All jobs, without sentinels and removed ones, by id. Read in pages: not all at one moment."""
        return [record for record in self._records("jobs") if record.job is not None]

    def arms(self) -> Sequence[Record]:
        """All records that have an arm in the store: jobs, removed ones not yet disarmed, and sentinels."""
        return self._records("arms")

    def fires(
        self, job_id: str | None = None, limit: int = 100, states: Collection[FireState] = (),
        before: Place | None = None,
    ) -> Sequence[Entry]:  # fmt: skip
        """The ledger, newest first: of these states only, if any are given, and only what stands behind `before`."""
        indexes = [_index(state, job_id) for state in sorted(set(states or FireState))]
        score, member = "+inf", ""
        if before is not None:
            score, member = str(to_micros(before.fire_at)), redis_rows.member_of(before.job_id, before.key)
        found: list[Entry] = []
        while len(found) < limit:
            most = min(_PAGE, limit - len(found))
            page = self._server.ask("fires", most, score, member, *indexes)[1]
            found += [redis_rows.entry_from(text, name) for name, _, text in page]
            if len(page) < most:
                break
            member, score, _ = page[-1]
        return found

    def fire(self, job_id: str, key: str) -> Entry | None:
        """The fire with this key of this job, open or settled; None where the ledger has none."""
        member = redis_rows.member_of(job_id, key)
        text = self._server.ask("fire", member)[1]
        return None if text is None else redis_rows.entry_from(text, member)

    def runs(self, job_id: str | None = None, run_id: str | None = None, limit: int = 100) -> Sequence[Run]:
        """Runs, open and ended, newest first."""
        if run_id is None:
            index = "runs-at" if job_id is None else f"runs-at:{rows.clean(job_id)}"
            newest = islice(self._newest_runs(index, limit), max(0, limit))
            found = [redis_rows.run_from(text, name) for name, text in newest]
            return sorted(found, key=lambda run: (run.claimed_at or EPOCH, run.fence), reverse=True)
        text = self._server.ask("run", rows.clean(run_id))[1]
        run = None if text is None else redis_rows.run_from(text, run_id)
        return [run] if run is not None and limit > 0 and job_id in (None, run.job_id) else []

    def runs_of(self, entries: Collection[Entry]) -> Sequence[Run]:
        """All runs of these fires, open and ended, in no order."""
        members = iter(sorted({redis_rows.member_of(entry.job_id, entry.key) for entry in entries if entry.attempts}))
        chunks = iter(lambda: list(islice(members, _PAGE)), [])
        told = (pair for chunk in chunks for pair in self._server.ask("runs_of", *chunk)[1])
        return [redis_rows.run_from(text, name) for name, text in told]

    def keep_output(
        self, run: Run, output: Output, *, per_job: int = KEPT_PER_JOB, in_all: int = KEPT_IN_ALL
    ) -> None:  # fmt: skip
        """Keep what an ended run said, once, and let go what is too old."""
        names = rows.clean(run.job_id), rows.clean(run.id)
        self._server.ask("keep_output", *names, output.to_text(), per_job, in_all)

    def output(self, run_id: str) -> Output | None:
        """What a run said; None where nothing is kept."""
        text = self._server.ask("output", rows.clean(run_id))[1]
        return None if text is None else rows.output_from(text, run_id)

    def chapters(self, job_id: str | None = None) -> Sequence[Chapter]:
        """What was due when, by job, oldest first; removed jobs' too."""
        if job_id is None:
            told = self._pages("chapters", "chapters")
        else:
            told = iter([(job_id, self._server.ask("chapters_of", rows.clean(job_id))[1])])
        return [redis_rows.chapter_from(text, name) for name, texts in told for text in texts]

    def trim(self, keep: Keep, limit: int = 500) -> int:
        """Forget the oldest of what `rules.trim` lets go, with its runs and what they said; how many fires went."""
        if keep.for_ever or limit <= 0:
            return 0
        most = (keep.fires, keep.span // timedelta(microseconds=1), keep.dead)
        went = 0
        turn, jobs = self._server.ask("turn", _JOBS_A_STEP)[1:]
        at, whole = turn, True
        for job_id in jobs:
            went += self._server.ask("trim", job_id, limit - went, *most)[1]
            whole = went < limit
            if not whole:
                break
            at = job_id
        at = "" if whole and len(jobs) < _JOBS_A_STEP else at
        if at != turn:
            self._server.ask("set_turn", at)
        return went

    def trims(self) -> Mapping[str, datetime]:
        """Up to which instant each job's ledger was trimmed."""
        found = self._server.ask("trims")[1]
        return {job_id: from_micros(int(until)) for job_id, until in zip(found[::2], found[1::2], strict=True)}

    def close(self) -> None:
        """Give back every connection. Closing twice is closing once."""
        self._server.close()

    def _hold(self, job_id: str, until: float) -> _Hold:
        _, now, stopped, epoch, held_until, kept = self._server.run("hold", job_id, self._hold_micros, _LONGEST_HOLD)
        # A write that comes when its caller has given up would be taken for one that did not happen.
        latest = int(now) + round((until - monotonic()) * _MICROS)
        moment = Moment(from_micros(int(now)), bool(stopped))
        try:
            found = redis_rows.kept_from(job_id, kept)
        except StoreError:
            self._server.run("free", job_id, held_until)
            raise
        return _Hold(job_id, found, moment, epoch, held_until, latest)

    def _free(self, hold: _Hold) -> None:
        try:
            self._server.run("free", hold.job_id, hold.until)
        except (redis.RedisError, StoreError) as error:
            _log.debug("job %s stays held for a moment: %s", hold.job_id, error)

    def _written(self, hold: _Hold, record: Record, until: float) -> bool:
        """Whether the record was written; if not, it never will be."""
        receipt = secrets.token_hex(16)
        written, commands = redis_rows.changes(hold.kept, record, hold.moment, receipt)
        failpoint("store.before_commit")
        try:
            answer = self._server.run(
                "write", hold.job_id, hold.until, hold.kept.version, hold.epoch, hold.latest, receipt, _RECEIPT_MS,
                json.dumps(written), json.dumps(commands),
            )  # fmt: skip
        except redis.RedisError as error:
            if fault_of(error) is not Fault.LOST:
                raise
            return self._server.came_through(error, until, hold.job_id, hold.until, receipt, _RECEIPT_MS)
        if answer[0] == "settled":
            what, name = "run" if answer[1] == "runs" else "fire", redis_rows.name_of(answer[2])
            raise StoreError(f"The {what} {name!r} has its outcome already, which never changes; nothing was written.")
        failpoint("store.after_commit")
        return bool(answer[0] == "ok")

    def _records(self, index: str) -> list[Record]:
        return [_readable_record(job_id, kept) for job_id, kept in self._pages("records", index)]

    def _pages(self, script: str, index: str) -> Iterator[tuple[str, list[Any]]]:
        """Ids in an index with what a script tells of each, by id."""
        after = ""
        while page := self._server.ask(script, index, after, _PAGE)[1]:
            yield from page
            after = page[-1][0]

    def _newest_runs(self, index: str, limit: int) -> Iterator[tuple[str, str]]:
        """Runs with their ids, newest first."""
        seen: set[str] = set()
        first, size = 0, min(_PAGE, max(1, limit))
        while page := self._server.ask("runs", index, first, size)[1]:
            # What came in meanwhile pushes the others back, so a row may be seen twice.
            yield from ((name, text) for name, text in page if name not in seen)
            seen.update(name for name, _ in page)
            first += len(page)


def _index(state: FireState, job_id: str | None) -> str:
    everybodys, own = redis_rows.by_state(state, rows.clean(job_id or ""))
    return everybodys if job_id is None else own


def _pairs(found: list[str]) -> list[tuple[str, float]]:
    """Members with their scores."""
    return [(member, float(score)) for member, score in zip(found[::2], found[1::2], strict=True)]


def _readable_record(job_id: str, kept: Sequence[Any]) -> Record:
    """The record without what cannot be read of it, which is logged: it harms no other (I17)."""
    _, job_text, arm_text, runs, fires = kept
    job = None if job_text is None else _readable(redis_rows.job_from, job_text, job_id)
    # An arm that cannot be read is unknown, and so wanted: never taken for one that is confirmed.
    arm = Arm() if arm_text is None else _readable(redis_rows.arm_from, arm_text, job_id) or Arm(known=False)
    open_runs = [run for text in runs if (run := _readable(redis_rows.run_from, text, job_id))]
    entries = [entry for text in fires if (entry := _readable(redis_rows.entry_from, text, job_id))]
    return Record(job_id, job, arm, *redis_rows.in_order(open_runs, entries))


def _readable(read: Callable[[str, str], T], text: str, name: str) -> T | None:
    try:
        return read(text, name)
    except StoreError as error:
        _log.error("%s", error)
        return None
