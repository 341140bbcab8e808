"""NAS's file and folder: who may read them, one server at a time, what is said when they cannot be used."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from hermes_cron.clock import to_micros
from hermes_cron.errors import StoreBusy, StoreError
from hermes_cron.nas.database import _FIRST, Database, lock_home
from hermes_cron.nas.held import Result
from tests.unit.nas.world import NOON, world


def test_the_file_and_its_folder_are_for_their_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "a" / "nas"
    with world(home), lock_home(home):
        modes = {path.name: path.stat().st_mode & 0o777 for path in [home, *home.iterdir()]}
    assert modes.pop("nas") == 0o700
    assert set(modes.values()) == {0o600}
    assert {"nas.db", "nas.db-wal", "nas.lock"} <= modes.keys()


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(StoreError, match=f"Others may write to the folder {tmp_path}"):
        Database(tmp_path)


def test_it_writes_through_to_the_disk(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with database.change() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    database.close()
    database.close()


def test_a_change_that_fails_is_undone(tmp_path: Path) -> None:
    with world(tmp_path) as it:

        def spoil() -> None:
            with it.database.change() as connection:
                connection.execute("DELETE FROM agents")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            spoil()
        assert len(it.agents.listed()) == 2


def test_one_server_has_the_folder(tmp_path: Path) -> None:
    with lock_home(tmp_path), pytest.raises(StoreBusy, match=f"serves from {tmp_path} already"):
        lock_home(tmp_path, seconds=0).__enter__()
    with lock_home(tmp_path, seconds=0):
        pass


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    Database(tmp_path).close()
    with sqlite3.connect(tmp_path / "nas.db") as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    connection.close()
    with pytest.raises(StoreError, match="made by a newer NAS"):
        Database(tmp_path)


def test_a_file_of_the_first_schema_is_taken_along(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "nas.db")
    for statement in _FIRST:
        old.execute(statement)
    old.execute("UPDATE schema_version SET version = 1")
    for number in (1, 2):
        old.execute("INSERT INTO agents VALUES (?, ?, ?, ?, 0, NULL)", (number, f"a{number}", "aud", f"{number}"))
    for number, due in enumerate((to_micros(NOON), None)):
        values = (1, f"j{number}", f"s{number}", to_micros(NOON), "http://a", "armed", due, None, 0, 0, "")
        old.execute(f"INSERT INTO arms VALUES ({', '.join('?' * len(values))})", values)
    old.commit()
    old.close()
    with world(tmp_path, agents=0, quota=3) as it:
        assert it.taken() == ["j0"]
        assert [held is not None for held in it.book.provision(1, [it.ask("a"), it.ask("b")])] == [True, False]
    Database(tmp_path).close()


def test_what_an_agent_holds_stands_with_it_whatever_becomes_of_its_arms(tmp_path: Path) -> None:
    chance = random.Random(7)
    with world(tmp_path, settle=0) as it:
        for _ in range(300):
            job_id, seconds = str(chance.randrange(6)), chance.choice((-9, -5, 0, 5, 9))
            act = chance.randrange(4)
            if act < 2:
                it.arm(chance.choice((1, 2)), job_id, seconds)
            elif act == 2:
                it.book.cancel(chance.choice((1, 2)), [job_id])
            for due in it.book.take(it.clock.now, act // 3, 16):
                it.book.finish(due.held, Result(chance.choice((202, 503, 400))))
                it.book.release(due.held)
            with it.database.read() as connection:
                kept = connection.execute("SELECT held, due_at FROM agents").fetchall()
                counted = connection.execute(
                    "SELECT count(job_id), min(arms.due_at) FROM agents LEFT JOIN arms ON agent_id = id GROUP BY id"
                ).fetchall()
            assert list(map(tuple, kept)) == list(map(tuple, counted))


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "nas.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(StoreError, match=r"nas.db cannot be used"):
        Database(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=f"The folder {tmp_path}/file/nas cannot be used"):
        Database(tmp_path / "file" / "nas")


def test_a_file_that_another_process_keeps_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    with world(tmp_path) as it:
        other = sqlite3.connect(tmp_path / "nas.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="locked by another process"):
            it.agents.revoke("agent1")
        assert len(it.agents.listed()) == 2, "reading needs no turn"
        other.close()
        it.agents.revoke("agent1")
