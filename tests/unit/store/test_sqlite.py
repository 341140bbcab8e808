"""What SQLite's file can do to us, and what is said of it."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hermes_cron.arm import Arm
from hermes_cron.errors import StoreBusy, StoreError
from hermes_cron.interfaces import Store
from hermes_cron.record import Record
from hermes_cron.store import open_store
from hermes_cron.store.migrations import VERSION

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
SENTINEL = Record("_wake.1", arm=Arm(wake_at=NOON))


def opened(path: Path, deadline: float = 3.0) -> Store:
    return open_store(f"sqlite:///{path}", clock=lambda: NOON, deadline=deadline)


def put(store: Store) -> None:
    store.change("_wake.1", lambda kept, moment: (SENTINEL, None))


def test_its_time_is_the_clock_it_was_handed(tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db")
    assert store.now() == NOON
    assert store.change("a", lambda kept, moment: (kept, moment.now)) == NOON
    store.close()


def test_the_file_and_its_folder_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.db"
    store = opened(path)
    put(store)
    modes = {file.name: file.stat().st_mode & 0o777 for file in [path.parent, *path.parent.iterdir()]}
    assert modes == {"folder": 0o700, "a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600}
    store.close()


def test_it_keeps_a_write_ahead_log(tmp_path: Path) -> None:
    put(opened(tmp_path / "a.db"))
    with sqlite3.connect(tmp_path / "a.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_folder_whose_parent_is_missing_too_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "not" / "mounted" / "a.db"
    with pytest.raises(StoreError, match=r"cannot be made: No such file.*must exist") as caught:
        opened(path).now()
    assert str(path) in str(caught.value)
    assert not (tmp_path / "not").exists()


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        opened(tmp_path).now()


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_text("dear diary, " * 1000)
    with pytest.raises(StoreError, match="is no SQLite database"):
        opened(path).now()
    assert path.read_text() == "dear diary, " * 1000


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = opened(path)
    put(store)
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(StoreError, match="is damaged"):
        opened(path).arms()


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE jobs (name TEXT)")
    connection.close()
    with pytest.raises(StoreError, match=r"another program's tables \(jobs\)"):
        opened(tmp_path / "a.db").now()


def test_a_newer_schema_is_refused_and_kept(tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db")
    put(store)
    store.close()
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    connection.close()
    with pytest.raises(StoreError, match=rf"made by a newer hermes-cron \(schema 99; this one knows {VERSION}\)"):
        opened(tmp_path / "a.db").now()


def test_a_file_that_has_gone_does_not_come_back_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = opened(path)
    put(store)
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(StoreError, match="cannot be opened"):
        put(store)
    assert not path.exists()


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    store, other = opened(tmp_path / "a.db"), opened(tmp_path / "b.db")
    put(store)
    assert not other.stopped()
    other.close()
    store.close()
    assert store.read("_wake.1") == SENTINEL
    (tmp_path / "b.db").rename(tmp_path / "a.db")
    for leftover in ("a.db-wal", "a.db-shm"):
        (tmp_path / leftover).unlink(missing_ok=True)
    assert store.read("_wake.1") is None
    store.close()


def test_a_lock_of_another_program_is_busy_and_then_over(tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db", deadline=0.2)
    assert not store.stopped()
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match=r"held by somebody else for 0\.2 s"):
        put(store)
    assert store.read("_wake.1") is None
    other.execute("ROLLBACK")
    other.close()
    put(store)
    assert store.read("_wake.1") == SENTINEL
    store.close()


def test_a_row_that_cannot_be_read_harms_no_other(tmp_path: Path) -> None:
    store = opened(tmp_path / "a.db")
    put(store)
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("INSERT INTO jobs (id, state, definition) VALUES ('bad', 'scheduled', '{}')")
        connection.execute("INSERT INTO arms (job_id, named) VALUES ('bad', 'nonsense')")
    connection.close()
    with pytest.raises(StoreError, match="row of job 'bad' cannot be read"):
        store.read("bad")
    assert store.jobs() == []
    assert store.arms() == [SENTINEL, Record("bad", arm=Arm(known=False))]
    store.close()
