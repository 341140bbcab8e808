"""The tables of a SQL store. Instants are whole microseconds since 1970; truths are 0 and 1.

`runs.open`, `fires.open` and `arms.wanted` repeat what the values say of themselves, so that partial indexes find
the few rows that matter: what a question costs grows with the work there is, not with what is kept. `trims` has up to
which instant a job's ledger was trimmed, and `turns` at whom a round over all jobs has arrived.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    literal_column,
)

METADATA = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _truth(name: str) -> Column[int]:
    return Column(name, SmallInteger, nullable=False, server_default="0")


def _maybe(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger) for name in names]


def is_true(column: ColumnElement[int]) -> ColumnElement[bool]:
    """`column = 1`, written out so that a partial index over it is used."""
    return column == literal_column("1")


def _partial(name: str, over: ColumnElement[int], *columns: ColumnElement[int] | ColumnElement[str]) -> Index:
    # PostgreSQL is told of it in `postgres`: to name its option here would load its dialect for SQLite, too.
    where = is_true(over)
    return Index(name, *columns, sqlite_where=where, info={"where": where})


JOBS = Table(
    "jobs", METADATA,
    Column("id", Text, primary_key=True),
    _text("state"), *_maybe("next_fire_at", "last_fire_at", "created_at"),
    _number("counted"), _number("failures_in_row"), _number("fence"), _number("revision"), _number("scheduled_in"),
    _text("reason"), _text("origin"), _text("definition"),
)  # fmt: skip
Index("jobs_by_next_fire", JOBS.c.next_fire_at)

ARMS = Table(
    "arms", METADATA,
    Column("job_id", Text, primary_key=True),
    *_maybe("wake_at", "armed_at", "armed_for"), _truth("known"),
    Column("owner", Text), *_maybe("owned_until"), _truth("void"), _text("named"), Column("refused", Text),
    _truth("wanted"),
)  # fmt: skip
Index("arms_by_wake", ARMS.c.wake_at)
_partial("arms_wanted", ARMS.c.wanted, ARMS.c.wake_at)

RUNS = Table(
    "runs", METADATA,
    Column("id", Text, primary_key=True),
    _text("job_id"), _text("key"), _number("fire_at"), _number("attempt"), _number("fence"), _text("task"),
    _text("args"), _text("state"), Column("timeout", Float(53)), _text("worker"),
    *_maybe("claimed_at", "started_at", "ended_at", "lease_until", "guard_at"),
    _text("cancel"), _text("error"), _text("result"), _truth("manual"), *_maybe("deadline"), _truth("open"),
)  # fmt: skip
Index("runs_by_job", RUNS.c.job_id, RUNS.c.claimed_at)
Index("runs_by_claim", RUNS.c.claimed_at)
RUNS_BY_FIRE = Index("runs_by_fire", RUNS.c.job_id, RUNS.c.key)
_partial("runs_open_by_lease", RUNS.c.open, RUNS.c.lease_until)
_partial("runs_open_by_job", RUNS.c.open, RUNS.c.job_id)

FIRES = Table(
    "fires", METADATA,
    Column("job_id", Text, primary_key=True), Column("key", Text, primary_key=True),
    _number("fire_at"), _text("state"), _truth("manual"), *_maybe("last_at", "count", "not_before", "since"),
    _number("attempts"), _number("failures"), _number("deaths"), _truth("counted"), _text("reason"),
    *_maybe("settled_at"), _truth("open"),
)  # fmt: skip
# The ledger is read in the order of `fire_at, job_id, key`: of all, of one job, of one state, of both.
FIRES_BY_PLACE = (
    Index("fires_by_place", FIRES.c.fire_at, FIRES.c.job_id, FIRES.c.key),
    Index("fires_by_job", FIRES.c.job_id, FIRES.c.fire_at, FIRES.c.key),
    Index("fires_by_state", FIRES.c.state, FIRES.c.fire_at, FIRES.c.job_id, FIRES.c.key),
    Index("fires_by_job_and_state", FIRES.c.job_id, FIRES.c.state, FIRES.c.fire_at, FIRES.c.key),
)
_partial("fires_open_by_job", FIRES.c.open, FIRES.c.job_id)
_partial("fires_open_by_retry", FIRES.c.open, FIRES.c.not_before)

CHAPTERS = Table(
    "chapters", METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    _text("job_id"), _number("at"), _text("state"), *_maybe("next_fire_at"), _text("definition"),
)  # fmt: skip
Index("chapters_by_job", CHAPTERS.c.job_id, CHAPTERS.c.id)

# What runs said, in the order in which it was kept.
OUTPUTS = Table(
    "outputs", METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("run_id", Text, nullable=False, unique=True), _text("job_id"), _text("text"),
)  # fmt: skip
Index("outputs_by_job", OUTPUTS.c.job_id, OUTPUTS.c.id)

TRIMS = Table("trims", METADATA, Column("job_id", Text, primary_key=True), _number("until"))
TURNS = Table("turns", METADATA, Column("name", Text, primary_key=True), _text("at"))
META = Table("meta", METADATA, Column("name", Text, primary_key=True), _number("value"))
SCHEMA_VERSION = Table("schema_version", METADATA, Column("version", BigInteger, primary_key=True))
