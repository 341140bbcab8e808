"""`nas serve` as a process of its own, killed at any point: what it has promised it keeps."""

from __future__ import annotations

import os
import queue
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_cron.errors import OutboundError
from tests.contract.nas_parts import AUDIENCE, PUBLIC_URL, AgentServer, Caller, answer, hang, instant
from tests.unit.parts import until

pytestmark = pytest.mark.processes

FAR = "2099-01-01T00:00:00+00:00"


class Server:
    """`hermes-cron nas serve`, and what its operator can do to it."""

    def __init__(self, home: Path, token_file: Path) -> None:
        self._home = home
        self._token_file = token_file
        self._process: subprocess.Popen[str] | None = None

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of NAS that ends by itself."""
        line = [sys.executable, "-m", "hermes_cron", "nas", *words, "--home", str(self._home)]
        return subprocess.run(line, text=True, capture_output=True, timeout=90, check=False)

    def start(self, *flags: str) -> Caller:
        """Start it; the agent that calls it."""
        line = [
            sys.executable, "-m", "hermes_cron", "nas", "serve", "--home", str(self._home), "--bind", "127.0.0.1:0",
            "--public-url", PUBLIC_URL, "--allow-private-callbacks", *flags,
        ]  # fmt: skip
        self._process = subprocess.Popen(line, text=True, stderr=subprocess.PIPE, start_new_session=True)
        assert self._process.stderr is not None
        seen = []
        # A server that says nothing at all is ended, and the lines with it.
        overdue = threading.Timer(60, self.kill)
        overdue.start()
        for line_said in self._process.stderr:
            seen.append(line_said)
            found = re.search(r"listens at (http://\S+)", line_said)
            if found:
                overdue.cancel()
                threading.Thread(target=self._process.stderr.read, daemon=True).start()
                return Caller(found[1], self._token_file.read_text().strip())
        overdue.cancel()
        raise AssertionError("".join(seen))

    @property
    def pid(self) -> int:
        """The process that was started."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill it and its children at once."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)

    def kill_parent(self) -> None:
        """Kill the process that was started, and wait until its children, which notice that, have ended, too."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(60)
        assert until(self._left_nobody)

    def _left_nobody(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def end(self, number: int) -> int:
        """End it by a signal; its exit code."""
        os.kill(self.pid, number)
        assert self._process is not None
        return self._process.wait(60)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A NAS with one agent, not started."""
    token_file = tmp_path / "token"
    new = Server(tmp_path / "nas", token_file)
    made = new.command("agents", "add", "one", "--audience", AUDIENCE, "--token-file", str(token_file))
    assert made.returncode == 0, made.stderr
    assert token_file.stat().st_mode & 0o777 == 0o600
    yield new
    new.kill()


def test_what_was_armed_in_delivery_unsettled_or_dead_survives_a_kill(server: Server, agent: AgentServer) -> None:
    release = threading.Event()
    caller = server.start("--settle", "8")
    agent.will(answer(), answer(400), hang(release))
    for job_id in ("unsettled", "dead", "in-delivery"):
        caller.provision(job_id, instant(), agent.url)
        assert agent.fire().body["job_id"] == job_id
    caller.wait_for_dead("dead")
    caller.provision("armed", instant(5), agent.url)
    caller.provision("far", FAR, agent.url)
    server.kill()
    release.set()

    caller = server.start("--settle", "8")
    fires = agent.fires_of("unsettled", "in-delivery", "armed")
    assert "dead" not in {got.body["job_id"] for got in fires}
    assert all(caller.claims(got)["job_id"] == got.body["job_id"] for got in fires)
    assert caller.armed() == {"far": FAR}
    assert caller.dead() == {"dead": "the agent answered 400"}


def test_every_arm_that_was_acknowledged_is_delivered_wherever_the_kills_fall(
    server: Server, agent: AgentServer
) -> None:
    chance = random.Random(5)
    wanted: set[str] = set()
    seen: set[str] = set()
    for life in range(4):
        caller = server.start("--settle", "300")
        fatal = chance.randrange(5, 40)
        killer = threading.Timer(chance.uniform(0, 0.05), server.kill)
        try:
            for n in range(10_000):
                if n == fatal:
                    killer.start()
                job_id = f"job{life}.{n}"
                caller.provision(job_id, instant(chance.uniform(-0.1, 1.0)), agent.url)
                wanted.add(job_id)
        except OutboundError:
            killer.join()
    assert len(wanted) >= 20
    server.start("--settle", "300")
    while not wanted <= seen:
        try:
            seen.add(agent.fire().body["job_id"])
        except queue.Empty:
            raise AssertionError(f"never came: {sorted(wanted - seen)[:10]}") from None


def test_a_server_whose_parent_process_is_killed_hands_over(server: Server, agent: AgentServer) -> None:
    caller = server.start()
    caller.provision("job", instant(4), agent.url)
    server.kill_parent()
    server.start()
    assert agent.fire().body["job_id"] == "job"


def test_it_ends_cleanly_while_an_agent_hangs(server: Server, agent: AgentServer) -> None:
    release = threading.Event()
    agent.will(hang(release))
    server.start().provision("job", instant(), agent.url)
    agent.fire()
    began = time.monotonic()
    assert server.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 40
    release.set()


def test_a_second_server_on_the_same_folder_is_refused(server: Server) -> None:
    server.start()
    second = server.command("serve", "--bind", "127.0.0.1:0", "--public-url", PUBLIC_URL)
    assert second.returncode == 75
    assert "Another NAS serves from" in second.stderr


def test_a_port_that_is_taken_is_named(server: Server, agent: AgentServer) -> None:
    taken = server.command("serve", "--bind", f"127.0.0.1:{agent.port}")
    assert taken.returncode == 1
    assert f"127.0.0.1:{agent.port} is taken." in taken.stderr
    assert "Traceback" not in taken.stderr


def test_its_people_and_keys_change_while_it_serves(server: Server, agent: AgentServer) -> None:
    caller = server.start()
    token = server.command("agents", "add", "two", "--audience", "agent:two").stdout.strip()
    other = Caller(caller.base, token)
    other.provision("job", instant(), agent.url)
    before = other.claims(agent.fire(), "agent:two")
    assert before["aud"] == "agent:two"
    assert server.command("keys", "rotate", "--alg", "EdDSA", "--overlap", "0").returncode == 0
    other.provision("job", instant(), agent.url)
    assert other.claims(agent.fire(), "agent:two")["job_id"] == "job"
    assert '"alg": "EdDSA"' in server.command("keys", "list", "--json").stdout
    assert until(lambda: '"unsettled": 1' in server.command("agents", "list", "--json").stdout)
    assert server.command("agents", "revoke", "two").returncode == 0
    assert other.send("GET", "/api/agent-cron/list").status == 403


def test_a_key_file_that_others_can_read_is_refused(server: Server, tmp_path: Path) -> None:
    assert server.command("keys", "new").returncode == 0
    (tmp_path / "nas" / "keys.json").chmod(0o640)
    refused = server.command("serve", "--bind", "127.0.0.1:0", "--public-url", PUBLIC_URL)
    assert refused.returncode == 78
    assert f"{tmp_path}/nas/keys.json" in refused.stderr
