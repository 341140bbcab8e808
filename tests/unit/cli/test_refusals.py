"""Whatever people type wrong: one sentence with a code, its exit code, no traceback, and nothing half-written."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli

HUGE = "9" * 5000
DEEP = "[" * 100_000
URL = '{"url": "https://example.com/"}'


def add(*more: str, id: str = "pong", schedule: str = "every 5m", task: str = "http", args: str = URL) -> list[str]:  # noqa: A002 - as its flag.
    return ["jobs", "add", id, "--schedule", schedule, "--task", task, "--args", args, *more]


def edit(*more: str) -> list[str]:
    return ["jobs", "edit", "ping", *more]


SCHEDULES = [
    "", " ", "every 0s", "every -5m", "-5m", "0m", f"every {HUGE}d", "every 1000000w", "0 0 31 2 *", "61 * * * *",
    "* * *", "2001-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "99999-01-01T00:00:00Z", "every 5", "5", "yearly at noon",
    "every\n5m", "every 5m\x00", "every 5m\x1b[31m", "\udcff\udcfe", "@reboot", "\u0665 * * * *", "a" * 10_000,
]  # fmt: skip
IDS = ["", ".", ".hidden", "_wake.1", "a b", "a/b", "a\nb", "a\x1b[31mb", "é", "\udcff", "x" * 256, "../../etc/passwd"]
ARGS = [
    "", "nonsense", "[]", "1", "null", '"x"', "{", '{"url": NaN}', '{"url": 1e999}', f'{{"url": {HUGE}}}', DEEP,
    '{"a": 1, "a": 2}', '{"nope": 1}', '{"url": "\udcff"}', '{"url": "\\ud800"}', f'{{"url": "{"x" * 70_000}"}}',
]  # fmt: skip
ZONES = ["", "Mars/Phobos", "../../etc/passwd", "/etc/passwd", "europe", "UTC\x00", "\udcff", "A" * 5000, "localtime"]
POLICIES = [
    ("--grace", "-5m"), ("--grace", "soon"), ("--grace", HUGE), ("--grace", "1e400"), ("--grace", "nan"),
    ("--timeout", "0"), ("--timeout", "0.0001s"), ("--timeout", "400d"), ("--timeout", "\u0665m"),
    ("--repeat", "0"), ("--repeat", "-1"), ("--repeat", "1.5"), ("--repeat", HUGE), ("--repeat", "\u0665"),
    ("--max-attempts", "0"), ("--max-attempts", "1001"), ("--reruns", "-1"), ("--reruns", "1001"),
    ("--backoff", "-1s"), ("--backoff-cap", "9999d"), ("--pause-on-failure", "x"), ("--overlap", "SKIP"),
    ("--overlap", "\udcff"), ("--misfire", "run_all(0)"), ("--misfire", "run_all(99999)"), ("--misfire", "never"),
    ("--starts-at", "2030-01-01"), ("--starts-at", "yesterday"), ("--ends-at", "2001-01-01T00:00:00Z"),
    ("--starts-at", "9999-12-31T23:59:59-14:00"), ("--jitter", "5m"), ("--jitter", "10m"), ("--jitter", "-1"),
    ("--anchor", "middle"), ("--anchor", "\x1b[31m"),
]  # fmt: skip

REFUSED = [
    *[(add(schedule=text), 2, "schedule_invalid") for text in SCHEDULES],
    *[(edit("--schedule", text), 2, "schedule_invalid") for text in SCHEDULES],
    *[(add(id=text), 2, "job_invalid") for text in IDS],
    *[(add(args=text), 2, "_invalid") for text in ARGS],
    *[(edit("--args", text), 2, "_invalid") for text in ARGS],
    *[(add("--timezone", text), 2, "schedule_invalid") for text in ZONES[1:]],
    *[(edit("--timezone", text), 2, "schedule_invalid") for text in ZONES[1:]],
    *[(["schedule", "explain", "every 5m", "--timezone", text], 2, "schedule_invalid") for text in ZONES],
    *[(["schedule", "explain", text], 2, "schedule_invalid") for text in SCHEDULES],
    *[(add(*words), 2, "_invalid") for words in POLICIES],
    *[(edit(*words), 2, "_invalid") for words in POLICIES],
    (add("--anchor", "completion", schedule="0 9 * * *"), 2, "schedule_invalid"),
    (add("--starts-at", "2031-01-01T00:00:00Z", "--ends-at", "2030-01-01T00:00:00Z"), 2, "job_invalid"),
    *[(add(task=text), 1, "task_not_found") for text in ("", "htp", "a b", "\udcff", "\x1b[31m", "x" * 5000)],
    *[(edit("--task", text), 1, "task_not_found") for text in ("", "htp")],
    (add(id="ping"), 1, "job_exists"),
    *[([*words, name], 1, "job_not_found")
      for words in (["jobs", "show"], ["jobs", "pause"], ["jobs", "resume"], ["jobs", "run"], ["jobs", "remove"],
                    ["jobs", "next"], ["runs", "list"])
      for name in ("nope", "", "\udcff", "a\nb\x1b[31m", "x" * 300)],
    *[(["runs", "show", name], 1, "run_not_found") for name in ("nope", "", "\udcff\x00", "x" * 5000)],
    (["jobs", "edit", "nope", "--repeat", "1"], 1, "job_not_found"),
    (edit("--repeat", "5", "--if-revision", "7"), 1, "job_changed"),
    *[(edit("--repeat", "5", "--if-revision", text), 2, "job_invalid") for text in ("0", "-1", "x", HUGE)],
    *[([*words, "--count", text], 2, "job_invalid")
      for words in (["jobs", "next", "ping"], ["schedule", "explain", "every 5m"])
      for text in ("0", "-1", "x", "1001", HUGE)],
    *[(["runs", "list", "--limit", text], 2, "job_invalid") for text in ("0", "-1", "x", HUGE)],
    *[(["jobs", "run", "ping", "--wait", text], 2, "job_invalid") for text in ("-1", "x", "")],
    (["--set", "colour=red", "jobs", "list"], 78, "config_invalid"),
    (["--set", "worker.concurrency=0", "jobs", "list"], 78, "config_invalid"),
    (["--set", "store.url=sqlite://", "jobs", "list"], 78, "config_invalid"),
    (["--set", "store.url=mongodb://x/y", "jobs", "list"], 78, "config_invalid"),
    (["--set", "broker.url=smoke://signal", "jobs", "list"], 78, "config_invalid"),
    (["--set", "cron.provider=nobody", "jobs", "list"], 78, "config_invalid"),
    (["--set", "cron.provider=chronos", *add()], 78, "config_invalid"),
    (["--config", "nope.yaml", "jobs", "list"], 78, "config_invalid"),
    (["--config", "\udcff", "jobs", "list"], 78, "config_invalid"),
    (["--config", "binary.yaml", "config", "show"], 78, "config_invalid"),
    (["--config", "/dev/zero", "config", "check"], 78, "config_invalid"),
    (["--config", "/", "config", "check"], 78, "config_invalid"),
    (["--set", "store.url=sqlite:///here.db", "config", "check"], 78, "config_invalid"),
    (["-A", "nope:app", "jobs", "list"], 78, "config_invalid"),
    (["-A", "harbour:nope", "jobs", "list"], 78, "config_invalid"),
    (["-A", "harbour:tide", "jobs", "list"], 78, "config_invalid"),
    (["-A", ":", "jobs", "list"], 78, "config_invalid"),
    (["-A", "../harbour", "jobs", "list"], 78, "config_invalid"),
    (["-A", "\udcff", "jobs", "list"], 78, "config_invalid"),
    (["-A", "broken", "jobs", "list"], 78, "config_invalid"),
    (["-A", "leaves", "jobs", "list"], 78, "config_invalid"),
    (["--log-level", "loud", "jobs", "list"], 78, "config_invalid"),
    (["--set", "store.url=sqlite:////nonexistent/a/b/c.db", "jobs", "list"], 69, "store_unreachable"),
    (["--set", "store.url=sqlite:////dev/null", "jobs", "list"], 69, "store_unreachable"),
    (["--set", "store.url=postgresql://127.0.0.1:1/x", "jobs", "list"], 69, "store_unreachable"),
]  # fmt: skip

USAGE = [
    ["nope"], ["jobs"], ["jobs", "nope"], ["jobs", "add"], ["jobs", "add", "x", "--schedule", "every 5m"],
    ["jobs", "list", "--colour"], ["jobs", "edit", "ping"], ["--set", "novalue", "jobs", "list"], ["jobs", "show"],
    ["jobs", "list", "extra"], ["schedule", "explain"], ["\udcff"], ["jobs", "show", "ping", "--json=1"],
]  # fmt: skip


@pytest.fixture
def home(cli: Cli, here: Path) -> Cli:
    (here / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (here / "broken.py").write_text("raise RuntimeError('two\\nlines')")
    (here / "zero.py").write_text(
        "from hermes_cron import HermesCron\napp = HermesCron('z')\n@app.cron('every 0m')\ndef z(): ..."
    )
    (here / "leaves.py").write_text("raise SystemExit(3)")
    cli.add("ping")
    return cli


def named(case: object) -> str:
    words = case if isinstance(case, list) else [case]
    return ascii(" ".join(str(word)[:20] for word in words)).strip("'")[:80]


@pytest.mark.parametrize(("words", "code", "name"), REFUSED, ids=named)
def test_it_refuses_in_one_sentence_and_changes_nothing(home: Cli, words: list[str], code: int, name: str) -> None:
    before = home.kept()
    answer = home(*words)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith("Error: ")
    assert answer.err.endswith(f"{name}]\n")
    assert answer.err.count("\n") == 1
    assert len(answer.err) < 1000
    assert all(char.isprintable() for char in answer.err.strip("\n"))
    assert home.kept() == before


@pytest.mark.parametrize("words", USAGE, ids=named)
def test_it_refuses_what_is_no_command(home: Cli, words: list[str]) -> None:
    before = home.kept()
    answer = home(*words)
    assert (answer.code, answer.out) == (2, "")
    assert home.kept() == before
    if words != ["jobs"]:
        assert answer.err.startswith("Error: ")
        assert answer.err.endswith(" [usage_invalid]\n")
        assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["jbos", "list"], "Did you mean 'jobs'?"), (["jobs", "lst"], "'list'"),
     (["jobs", "list", "--config", "x.yaml"], "It stands before the command: `hermes-cron --config ... jobs list`."),
     (["jobs", "list", "-A", "harbour:app"], "It stands before the command: `hermes-cron -A ... jobs list`."),
     (["jobs", "add", "x"], "`hermes-cron jobs add --help`"),
     (["-A", "harbour.py:app", "jobs", "list"], "without .py: -A harbour:app."),
     (["-A", "harbour:tide", "jobs", "list"], "is a Task, and not a HermesCron. Name the HermesCron of harbour"),
     (["-A", "broken", "jobs", "list"], "broken.py, line 1."),
     (["-A", "zero:app", "jobs", "list"], "zero.py, line 3."),
     (["-A", "nope:app", "jobs", "list"], "from the folder in which `import module` works."),
     (["-A", "nope:app", "dev"], "from the folder in which `import module` works."),
     (add("--repeat", "-1"), "from 1 to"), (add("--misfire", "never"), "run_all(N)"),
     (add("--misfire", "run_all(0)"), "from 1 to 1000"), (add("--starts-at", "yesterday"), "2030-01-31T09:00:00Z"),
     (add(schedule="2031-02-31T00:00:00Z"), "'2031-02-31T00:00:00Z'"),
     (add("--ends-at", "2001-01-01T00:00:00Z"), "Give a later ends_at, or none."),
     (add(id="x" * 300), "(300 characters) cannot be a job id."),
     (["simulate", "--from", "9999-12-31T00:00:00Z"], "the years 1970 to 2999")],
    ids=named,
)  # fmt: skip
def test_it_says_what_to_do_instead(home: Cli, words: list[str], hint: str) -> None:
    answer = home(*words)
    assert answer.code in (2, 78)
    assert answer.err.startswith("Error: ")
    assert hint in answer.err
    assert answer.out == ""


@pytest.mark.processes
@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("1", False)])
def test_it_has_colours_on_a_terminal_that_wants_them(home: Cli, variable: str, coloured: bool) -> None:
    terminal, end = pty.openpty()
    process = start(home, "jobs", "show", "nope", stderr=end, more={"NO_COLOR": variable})
    process.communicate(timeout=60)
    said = os.read(terminal, 10_000)
    os.close(terminal)
    os.close(end)
    assert said.endswith(b"[job_not_found]\r\n")
    assert (b"\x1b[" in said) is coloured


def test_it_waits_for_a_locked_store_and_then_says_so(home: Cli) -> None:
    before = home.kept()
    with contextlib.closing(sqlite3.connect(home.home / "hermes-cron.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        answer = home(*add())
        holder.execute("ROLLBACK")
    assert answer.code == 75
    assert answer.err.endswith("Try again. [store_busy]\n")
    assert home.kept() == before


def test_it_says_that_the_store_is_damaged(cli: Cli) -> None:
    cli.home.mkdir()
    (cli.home / "hermes-cron.db").write_bytes(b"not a database" * 1000)
    answer = cli("jobs", "list")
    assert answer.code == 69
    assert "is no SQLite database" in answer.err


@pytest.mark.processes
def test_it_can_be_interrupted_while_it_waits(home: Cli) -> None:
    before = home.kept()
    process = start(home, "jobs", "run", "ping", "--wait", "60s")
    while home.kept() == before:
        assert process.poll() is None
        threading.Event().wait(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err


@pytest.mark.processes
@pytest.mark.parametrize("words", [[b"jobs", b"show", b"\xff\xfe"], [b"jobs", b"pause", b"ping", b"--reason", b"\xff"]])
def test_it_takes_arguments_that_are_no_utf8(home: Cli, words: list[bytes]) -> None:
    process = start(home, *words)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 1)
    assert b"Traceback" not in err


@pytest.mark.processes
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["jobs list --json", "jobs apply -f - --dry-run", "jobs remove nope"])
def test_it_minds_no_stream_that_is_closed(home: Cli, words: str, closed: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    script = f'"$0" -m hermes_cron {words} {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable], stdin=subprocess.DEVNULL, capture_output=True, env=env, check=False
    )  # fmt: skip
    assert done.returncode == {"jobs list --json": 0, "jobs remove nope": 1}.get(words, 2)
    assert b"Traceback" not in done.stderr


@pytest.mark.processes
def test_it_minds_no_reader_that_leaves(home: Cli) -> None:
    process = start(home, "jobs", "list", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()


# As `python -m hermes_cron`; what a script runs in the background has SIGINT ignored, and so would its children.
MAIN = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("hermes_cron", run_name="__main__", alter_sys=True)
"""


def start(
    cli: Cli, *words: str | bytes, stderr: int = subprocess.PIPE, more: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", MAIN, *words]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), **(more or {})}
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=env)
