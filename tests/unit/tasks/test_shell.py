"""What a command is given, what is kept of it, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hermes_cron.clock import utc_now
from hermes_cron.errors import TaskFailed, TaskInvalid
from hermes_cron.execution import MAX_RESULT_BYTES, execute
from hermes_cron.run import Run, RunState, StopSign
from hermes_cron.settings import ShellSettings, TaskSettings
from hermes_cron.tasks import box_tasks
from hermes_cron.tasks.command import STOP_GRACE_S
from hermes_cron.tasks.shell import Shell
from tests.unit.parts import ends_within

shell = Shell(enabled=True)
MakeRun = Callable[..., Run]
Waiter = Callable[..., bool]


def python(program: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", program]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def failure(run: Run, argv: Any, **given: Any) -> str:
    with pytest.raises((TaskFailed, TaskInvalid)) as caught:
        shell(run, argv, **given)
    return str(caught.value)


def children() -> set[int]:
    tasks = Path("/proc/self/task")
    found = set[int]()
    for task in tasks.iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # A thread that ends in this moment.
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def test_it_gives_exit_code_and_output(run: Run) -> None:
    answer = shell(run, python("import sys; print('out'); print('err', file=sys.stderr)"))
    assert answer == {"exit_code": 0, "stdout": "out\n", "stderr": "err\n"}


def test_it_is_off_until_it_is_turned_on(run: Run) -> None:
    with pytest.raises(TaskInvalid, match=r"shell is off; set tasks\.shell\.enabled: true"):
        box_tasks(TaskSettings())["shell"](run, ["true"])
    on = TaskSettings(shell=ShellSettings(enabled=True))
    assert box_tasks(on)["shell"](run, ["true"]) == {"exit_code": 0, "stdout": "", "stderr": ""}


def test_no_shell_reads_the_command(run: Run) -> None:
    assert shell(run, ["echo", "$HOME; echo `id` > x && *"])["stdout"] == "$HOME; echo `id` > x && *\n"


@pytest.mark.parametrize(
    ("argv", "given", "sentence"),
    [
        ("ls -l", {}, 'argv must be a list, and not one text. Write ["ls", "-l"]'),
        ([], {}, "argv must be a list of texts"),
        (["ls", 1], {}, "argv must be a list of texts"),
        ([""], {}, "argv must be a list of texts"),
        ({"a": 1}, {}, "argv must be a list of texts"),
        (None, {}, "argv must be a list of texts"),
        (["true"], {"env": {"A": 1}}, "env must be texts by name"),
        (["true"], {"env": ["A"]}, "env must be texts by name"),
        (["true"], {"cwd": 1}, "cwd must be"),
        (["true"], {"input": 1}, "input must be text"),
        (["true"], {"timeout": 0}, "timeout must be seconds"),
        (["true"], {"timeout": True}, "timeout must be seconds"),
        (["true"], {"cwd": "/nowhere"}, "true cannot be started in /nowhere: No such file"),
        (["no-such-program"], {}, "no-such-program cannot be started: No such file"),
        (["/etc/passwd"], {}, "/etc/passwd cannot be started: Permission denied"),
        (["echo", "a\0b"], {}, "echo cannot be started: a NUL"),
        (["true"], {"env": {"A=B": "1"}}, "true cannot be started: a NUL or ="),
        (["true", "x" * 4_000_000], {}, "true cannot be started: Argument list too long"),
    ],
)
def test_it_refuses_what_cannot_be_run(run: Run, argv: Any, given: dict[str, Any], sentence: str) -> None:
    assert failure(run, argv, **given).startswith(sentence)


def test_a_command_sees_little_of_our_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_CRON_CRON__CHRONOS__ACCESS_TOKEN", "hunter2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    program = "import os, json; print(json.dumps(dict(os.environ)))"
    seen = json.loads(str(shell(run, python(program), env={"A": "b", "LANG": "C.UTF-8"})["stdout"]))
    assert seen.pop("PATH") == os.environ["PATH"]
    assert {name: value for name, value in seen.items() if name not in ("HOME", "LC_CTYPE")} == {
        "A": "b", "LANG": "C.UTF-8", "TZ": "Asia/Tokyo", "CRON_JOB_ID": "backup",
        "CRON_FIRE_AT": "2026-07-01T12:00:00+00:00", "CRON_ATTEMPT": "2", "CRON_FENCE": "7",
    }  # fmt: skip


def test_a_command_has_no_descriptor_of_ours(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        seen = str(shell(run, python("import os; print(sorted(os.listdir('/proc/self/fd')))"))["stdout"])
    assert seen == "['0', '1', '2', '3']\n"  # 3 is the listing itself.


def test_it_reads_its_input_to_the_end_or_nothing(run: Run, tmp_path: Path) -> None:
    count = python("import sys; print(len(sys.stdin.buffer.read()))")
    assert shell(run, count)["stdout"] == "0\n"
    assert shell(run, count, input="ä" * 500_000)["stdout"] == "1000000\n"
    assert shell(run, ["true"], input="x" * 500_000)["exit_code"] == 0
    assert shell(run, ["pwd"], cwd=str(tmp_path))["stdout"] == f"{tmp_path}\n"


def test_it_keeps_the_end_of_what_is_long(run: Run) -> None:
    program = "import sys; o = sys.stdout.buffer; o.write(b'x' * 10_000_000 + b'end'); sys.stderr.write('err')"
    answer = shell(run, python(program))
    first, _, rest = str(answer["stdout"]).partition("\n")
    assert first == f"[{10_000_003 - len(rest)} bytes before this are left out]"
    assert (rest[-4:], answer["stderr"]) == ("xend", "err")


@pytest.mark.parametrize("char", ["\0", "\u00e4", "\U0001f600", '"', "x"])
def test_what_it_keeps_fits_into_a_result(run: Run, char: str) -> None:
    program = (
        f"import sys; t = chr({ord(char)}).encode() * 60_000; sys.stdout.buffer.write(t); sys.stderr.buffer.write(t)"
    )
    text = json.dumps(shell(run, python(program)), ensure_ascii=False)
    assert 20_000 < len(text.encode()) <= MAX_RESULT_BYTES


def test_it_replaces_what_is_no_text(run: Run) -> None:
    program = "import sys; sys.stdout.buffer.write(b'a\\xff\\xc3')"
    assert shell(run, python(program))["stdout"] == "a\ufffd\ufffd"
    cut = "import sys; sys.stdout.buffer.write('\\u00e4'.encode() * 50_000 + b'x')"
    assert "\ufffd" not in str(shell(run, python(cut))["stdout"])


def test_a_bad_exit_is_told_with_the_end_of_what_it_said(run: Run) -> None:
    program = "import sys; sys.stderr.write('x' * 9000 + '\\x1b[31mno\\nspace'); sys.exit(3)"
    said = failure(run, python(program))
    assert Path(sys.executable).name + " ended with exit code 3; it said: ...xxx" in said
    assert said.endswith("\ufffd[31mno space")
    assert len(said) < 400
    assert failure(run, ["false"]) == "false ended with exit code 1"
    assert failure(run, python("import os; os.kill(os.getpid(), 9)")).endswith(" was killed by SIGKILL")


def test_it_stops_a_command_with_its_run(make_run: MakeRun, wait_for: Waiter, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    program = (
        "import signal, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('tidied', file=sys.stderr), sys.exit(0)))\n"
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    )

    def stop_it() -> None:
        ready.unlink(missing_ok=True)
        assert failure(make_run(ready.exists), python(program)).endswith(" was stopped; it said: tidied")

    assert ends_within(STOP_GRACE_S, stop_it)


def test_it_stops_a_command_after_its_timeout(run: Run) -> None:
    assert failure(run, ["sleep", "60"], timeout=0.1) == "sleep was stopped"


def test_it_kills_a_command_that_will_not_stop_and_its_children(make_run: MakeRun, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    program = (
        "import os, signal, time, pathlib\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = os.fork()\n"
        f"if child: pathlib.Path({str(ready)!r}).write_text(f'{{os.getpid()}} {{child}}')\n"
        "time.sleep(60)"
    )
    started = time.monotonic()
    assert failure(make_run(lambda: ready.exists() and " " in ready.read_text()), python(program)).endswith(
        "was stopped"
    )
    assert STOP_GRACE_S <= time.monotonic() - started < 50
    assert not any(alive(int(pid)) for pid in ready.read_text().split())


def test_it_leaves_nothing_of_a_command_behind(run: Run, wait_for: Waiter) -> None:
    before, descriptors = children(), set(Path("/proc/self/fd").iterdir())
    answer = shell(run, ["sh", "-c", "sleep 60 & echo $!"])
    assert wait_for(lambda: not alive(int(str(answer["stdout"]))))
    # What earlier tests left to end may end meanwhile.
    assert wait_for(lambda: children() <= before and set(Path("/proc/self/fd").iterdir()) <= descriptors)


def test_it_does_not_wait_for_who_has_left_the_group(run: Run) -> None:
    program = (
        "import os, sys, time\n"
        "if os.fork() == 0: os.setsid(); print(os.getpid(), flush=True); os.kill(os.getppid(), 10); time.sleep(60)\n"
        "time.sleep(60)"
    )
    program = "import signal, os; signal.signal(10, lambda *_: os._exit(0))\n" + program
    started = time.monotonic()
    pid = int(str(shell(run, python(program))["stdout"]))
    assert time.monotonic() - started < 50
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.processes
def test_a_command_does_not_outlive_a_worker_that_is_killed(wait_for: Waiter, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    program = (
        "from datetime import datetime, UTC\n"
        "from hermes_cron.run import Run\n"
        "from hermes_cron.tasks.shell import Shell\n"
        "run = Run('r', 'j', 'k', datetime.now(UTC), 1, 1, 'shell', {})\n"
        f"Shell(True)(run, ['sh', '-c', 'sleep 60 & echo $$ $! > {ready}; wait'])"
    )
    worker = subprocess.Popen([sys.executable, "-c", program], cwd="/")
    try:
        assert wait_for(lambda: ready.exists() and len(ready.read_text().split()) == 2)
        pids = [int(pid) for pid in ready.read_text().split()]
        assert all(alive(pid) for pid in pids)
    finally:
        worker.kill()
        worker.wait(60)
    assert wait_for(lambda: not any(alive(pid) for pid in pids))


def test_its_run_ends_cancelled_when_it_is_cancelled_and_failed_when_it_is_late(run: Run, tmp_path: Path) -> None:
    tasks = box_tasks(TaskSettings(shell=ShellSettings(enabled=True)))
    sleeper = replace(run, task="shell", args={"argv": ["sleep", "60"]})
    sign = StopSign()
    sign.put_up("cancelled by a person")
    ended = execute(sleeper, tasks, sign, utc_now)
    assert (ended.state, ended.error) == (RunState.CANCELLED, "cancelled by a person")
    ended = execute(replace(sleeper, timeout=0.1), tasks, StopSign(), utc_now)
    assert (ended.state, ended.error) == (RunState.FAILED, "timed out after 0.1 s")
    ended = execute(replace(sleeper, args={"argv": ["true"], "shell": True}), tasks, StopSign(), utc_now)
    assert "unexpected keyword argument 'shell'" in ended.error


def test_it_is_told_when_the_keeper_was_killed_and_kills_the_command(
    run: Run, wait_for: Waiter, tmp_path: Path
) -> None:
    program = (
        "import os, pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "os.kill(os.getppid(), 9); time.sleep(60)"
    )
    assert failure(run, python(program)).endswith("was killed by SIGKILL")
    assert wait_for(lambda: not alive(int((tmp_path / "pid").read_text())))


def test_a_command_starts_with_the_signals_that_programs_expect(run: Run) -> None:
    seen = str(shell(run, ["sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status"])["stdout"]).split()
    own = {
        name: int(mask, 16)
        for name, mask in re.findall(r"Sig(Blk|Ign):\s*(\w+)", Path("/proc/self/status").read_text())
    }
    # What the tests themselves were started with stays as it is, as that of a script in the background does.
    kept = own["Ign"] & ~(1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))
    assert (int(seen[1], 16) & ~own["Blk"], int(seen[3], 16) & ~kept) == (0, 0)
