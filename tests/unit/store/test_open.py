"""Opening a store by its URL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hermes_cron.errors import ConfigError
from hermes_cron.store import open_store

WITHOUT_PSYCOPG = """
import sys
sys.modules["psycopg"] = None
from hermes_cron.errors import ConfigError
from hermes_cron.store import open_store
try:
    open_store("postgresql://127.0.0.1/x")
except ConfigError as error:
    print(error)
"""


def python(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("url", ["memcached://localhost", "mysql://u:secret@h/d", "", "file.db"])
def test_an_unknown_scheme_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(ConfigError, match="supported are sqlite://, postgresql://") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite://host/file", "sqlite:///a.db?mode=ro"])
def test_a_sqlite_url_must_name_a_file(url: str) -> None:
    with pytest.raises(ConfigError, match="must name a file"):
        open_store(url)


def test_a_url_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"store\.url cannot be read") as caught:
        open_store("postgresql://user:secret@host:port/x")
    assert "secret" not in str(caught.value)


def test_it_makes_nothing_before_its_first_use(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/a.db")
    assert list(tmp_path.iterdir()) == []
    assert not store.stopped()
    store.close()
    assert (tmp_path / "a.db").exists()


def test_the_room_imports_no_database_library() -> None:
    script = "import sys, hermes_cron.store; print({'sqlalchemy', 'psycopg', 'sqlite3'} & set(sys.modules))"
    assert python(script) == "set()\n"


def test_a_missing_psycopg_is_named_with_its_extra() -> None:
    assert "hermes-cron[postgres]" in python(WITHOUT_PSYCOPG)
