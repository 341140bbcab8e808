"""How long a cold start takes: `python -m bench.cold [--rounds N] [--beside FOLDER] [--only WORDS]`.

From exec to the end: 1. python doing nothing, 2. `import hermes_cron`, 3. `hermes-cron --help`, 4. `hermes-cron jobs
list` with 100 jobs. From exec of `hermes-cron serve`, with a fire of NAS and a question for its health waiting at the
socket that nobody serves: until `/healthz` answers, and until the body of that fire has begun: 5. with SQLite and
memory://, 6. with PostgreSQL and Redis, where these answer. The provider is Chronos, its key set is on disk, NAS is up.

All take turns, round by round, so that whatever else the machine does meets them all; so does another checkout, with
`--beside`, whose figures then stand next to ours. The first round warms the page cache and the `.pyc` files and is not
counted. On a busy machine look at the times on the processor (user + system), and at the ratios.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.integration.system import System

ROOT = Path(__file__).parents[1]
REDIS = os.environ.get("HERMES_CRON_TEST_REDIS", "redis://127.0.0.1:6379/0")
POSTGRES = os.environ.get("HERMES_CRON_TEST_POSTGRES", "postgresql://127.0.0.1:5432/test")
MAIN = "from hermes_cron.__main__ import main; main()"
DEADLINE = 60.0
NOTHING = "python, doing nothing"

APP = """
import os, time
from hermes_cron import HermesCron

app = HermesCron("cold")

@app.task(name="begin")
def begin(file):
    at, worker = time.monotonic_ns(), time.process_time_ns()
    with open(f"/proc/{os.getppid()}/schedstat") as master:
        used = worker + int(master.read().split()[0])
    with open(file, "a") as kept:
        kept.write(f"{at} {used}\\n")
"""

FILL = """
from functools import partial
from hermes_cron.job import Job
from hermes_cron.rules import change
from hermes_cron.schedule import Schedule
from hermes_cron.store import open_store

store = open_store("sqlite:///hermes-cron.db")
for number in range(100):
    schedule = Schedule.parse(f"{number % 60} 6 * * *", now=store.now())
    job = Job(f"job-{number}", "http", schedule, {"url": "https://example.org/"})
    store.change(job.id, partial(change.create, job=job))
store.close()
"""

Sample = tuple[float, float | None]
"""Milliseconds by the clock, and on the processor, where that is known."""


def run(code: str, *arguments: str, env: dict[str, str], cwd: Path) -> Sample:
    """One process, from exec to its end."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=env, cwd=cwd, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    took = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.stderr is not None
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.returncode == 0, said
    return took * 1e3, (used.ru_utime + used.ru_stime) * 1e3


def compiled(folder: Path) -> dict[str, str]:
    """Where modules are kept compiled, as at every installation: a setting of this shell must not take that away."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONUNBUFFERED": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


class Zero:
    """An agent at zero: its NAS is up and fires a job every few seconds at a socket behind which nobody is."""

    def __init__(self, folder: Path, tree: Path, store: str, broker: str) -> None:
        (folder / "cold_app.py").write_text(APP)
        self.began = folder / "began"
        self.began.touch()
        path = f"{tree}{os.pathsep}{folder}"
        env = {"HERMES_CRON_APP": "cold_app:app", "HERMES_CRON_STORE__URL": store, "PYTHONPATH": path}
        self.folder = folder
        self.system = System(folder, broker, env={**env, **compiled(folder.parent)})
        self.system.start_nas()
        self.system.add("tide", "every 4s", "begin", "--args", f'{{"file": "{self.began}"}}', "--overlap", "queue")

    def wake(self) -> dict[str, Sample]:
        """Until the health is answered, until the body has begun, and all of it until serve sleeps."""
        system, before = self.system, self.began.stat().st_size
        system.wait(system.knocked, "NAS knocks", DEADLINE)
        host, port = system.web_socket.getsockname()
        with socket.create_connection((host, port), timeout=DEADLINE) as asked:
            asked.sendall(f"GET /healthz HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            fd = system.web_socket.fileno()
            with (self.folder / "serve.log").open("ab") as log:
                began = time.monotonic_ns()
                serve = subprocess.Popen(
                    [sys.executable, "-c", MAIN, "serve", "--bind", f"fd://{fd}", "--exit-when-idle", "0.2"],
                    pass_fds=(fd,), cwd=self.folder, env=system.environment, start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
            system.processes.append(serve)
            answer = asked.recv(4096)
            healthy = time.monotonic_ns()
        assert b" 200 " in answer.split(b"\r\n")[0], answer
        system.wait(lambda: self.began.stat().st_size > before, "the body begins", DEADLINE)
        system.wait(lambda: self.began.read_bytes()[before:].endswith(b"\n"), "the body has said so", DEADLINE)
        body, used = map(int, self.began.read_bytes()[before:].split()[:2])
        whole = self.slept(serve)
        ended = time.monotonic_ns()
        system.processes.remove(serve)
        return {
            "to /healthz": ((healthy - began) / 1e6, None), "to the body": ((body - began) / 1e6, used / 1e6),
            "to its sleep": ((ended - began) / 1e6, whole),
        }  # fmt: skip

    def slept(self, serve: subprocess.Popen[bytes]) -> float:
        """Milliseconds on the processor of a process that has gone to sleep by itself, and of its children."""
        ended: list[tuple[int, int, resource.struct_rusage]] = []

        def gone() -> bool:
            ended[:] = [os.wait4(serve.pid, os.WNOHANG)]
            return ended[0][0] == serve.pid

        self.system.wait(gone, "serve sleeps", DEADLINE)
        serve.returncode = os.waitstatus_to_exitcode(ended[0][1])
        assert serve.returncode == 0, self.system.logs()
        return (ended[0][2].ru_utime + ended[0][2].ru_stime) * 1e3


@contextmanager
def postgres_store() -> Iterator[str | None]:
    """A PostgreSQL store of our own, and nothing of it afterwards; None where it or Redis does not answer."""
    try:
        admin = psycopg.connect(POSTGRES, connect_timeout=3, autocommit=True)
        redis = urlsplit(REDIS)
        socket.create_connection((redis.hostname or "", redis.port or 6379), timeout=3).close()
    except (OSError, psycopg.OperationalError):
        yield None
        return
    name = f"hermes_cron_bench_{uuid.uuid4().hex}"
    with admin:
        admin.execute(f"CREATE SCHEMA {name}")
        try:
            yield urlunsplit(urlsplit(POSTGRES)._replace(query=f"options=-csearch_path%3D{name}"))
        finally:
            admin.execute(f"DROP SCHEMA {name} CASCADE")


def commands(folder: Path, tree: Path) -> dict[str, Callable[[], Sample]]:
    """What runs to its end, by name."""
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HERMES_CRON_")}
    env = {**kept, "HERMES_CRON_HOME": str(folder), "PYTHONPATH": str(tree), **compiled(folder.parent)}
    run(FILL, env=env, cwd=folder)
    return {
        NOTHING: lambda: run("pass", env=env, cwd=folder),
        "import hermes_cron": lambda: run("import hermes_cron", env=env, cwd=folder),
        "hermes-cron --help": lambda: run(MAIN, "--help", env=env, cwd=folder),
        "hermes-cron jobs list": lambda: run(MAIN, "jobs", "list", env=env, cwd=folder),
    }


def zeros(stack: ExitStack, home: Path, tree: Path, only: str) -> dict[str, Zero]:
    """The agents at zero, by what they are joined by; what they need ends with the stack."""
    found: dict[str, Zero] = {}
    url = stack.enter_context(postgres_store())
    if url is None:
        print("PostgreSQL or Redis does not answer: 6. is left out")
    joined = {"SQLite, memory": ("", "memory://"), **({"PostgreSQL, Redis": (url, REDIS)} if url else {})}
    for kind, (store, broker) in joined.items():
        if only in f"serve ({kind})":
            folder = home / kind.split(",")[0]
            folder.mkdir()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            found[kind] = zero = Zero(folder, tree, store or f"sqlite:///{folder}/hermes-cron.db", broker)
            stack.callback(zero.system.close)
    return found


Found = dict[tuple[str, str], list[Sample]]


def measured(trees: dict[str, Path], rounds: int, only: str) -> Found:
    """Everything in turns; by what it is and whose."""
    found: Found = {}
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runs, woken = {}, {}
        for whose, tree in trees.items():
            (home / whose).mkdir()
            runs[whose] = commands(home / whose / "commands", tree)
            woken[whose] = zeros(stack, home / whose, tree, only)
        for number in range(rounds + 1):
            one_round(found, runs, woken, only)
            if not number:
                found.clear()
    return found


def one_round(
    found: Found, runs: dict[str, dict[str, Callable[[], Sample]]], woken: dict[str, dict[str, Zero]], only: str
) -> None:
    for name in runs["ours"]:
        if name == NOTHING or only in name:
            for whose in runs:
                found.setdefault((name, whose), []).append(runs[whose][name]())
    for kind in woken["ours"]:
        for whose in woken:
            for what, sample in woken[whose][kind].wake().items():
                found.setdefault((f"serve ({kind}) {what}", whose), []).append(sample)


def told(found: Found, trees: dict[str, Path]) -> None:
    """A line for each: by the clock, on the processor, as multiples of python's own, and of the other checkout."""
    base = [statistics.median(values) for values in zip(*found[NOTHING, "ours"], strict=True)]
    print(f"{'milliseconds':<44}{'p50':>7}{'p90':>7}{'x python':>10}{'on cpu':>9}{'x python':>10}")
    for name in dict.fromkeys(name for name, _ in found):
        for whose in trees:
            clock, cpu = (list(column) for column in zip(*found[name, whose], strict=True))
            line = f"{name if whose == 'ours' else '    ' + whose:<44}"
            line += f"{statistics.median(clock):7.0f}{quantile(clock):7.0f}{statistics.median(clock) / base[0]:10.1f}"
            if cpu[0] is not None:
                line += f"{statistics.median(cpu):9.0f}{statistics.median(cpu) / base[1]:10.1f}"
            print(line)
        if len(trees) > 1:
            pairs = list(zip(found[name, "ours"], found[name, "beside"], strict=True))
            clock = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
            cpus = [ours[1] / theirs[1] for ours, theirs in pairs if ours[1] and theirs[1]]
            words = f", on cpu {statistics.median(cpus):.2f}" if cpus else ""
            print(f"    ours / beside, pair by pair: {clock:.2f}{words}")


def quantile(values: list[float]) -> float:
    """Their p90."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.9))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--beside", type=Path, default=None, help="another checkout, measured in the same rounds")
    parser.add_argument("--only", default="", help="only what has these words in its name, and python itself")
    given = parser.parse_args()
    trees = {"ours": ROOT, **({"beside": given.beside.resolve()} if given.beside else {})}
    print(f"{given.rounds} rounds, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    told(measured(trees, given.rounds, given.only), trees)


if __name__ == "__main__":
    main()
