"""A NAS and an agent on free ports of loopback, in a folder of their own: what `demo` and `dev` are made of.

Every part is the real one, started as its own process with the real command. The sockets are made here and handed
down, so that a port is never looked for twice, and so that a launcher can wake the agent when somebody connects.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from hermes_cron.clock import monotonic
from hermes_cron.config import Config, load
from hermes_cron.errors import HermesCronError
from hermes_cron.server import listen, url_of

AUDIENCE = "agent:demo"
_START_S = 20.0
_STOP_S = 10.0
_CONFIG = """\
app: {app}
cron:
  provider: chronos
  chronos:
    portal_url: {nas}
    callback_url: {agent}
    expected_audience: {audience}
    nas_jwks_url: {nas}/.well-known/jwks.json
    access_token_file: {home}/token
broker:
  url: memory://
store:
  url: sqlite:///{home}/hermes-cron.db
web:
  bind: {bind}
"""


class Embedded:
    """The folder, the sockets and the processes; a context that leaves nothing behind."""

    def __init__(self, app: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="hermes-cron-"))
        self.nas_socket, self.agent_socket = listen("127.0.0.1:0"), listen("127.0.0.1:0")
        self.nas_url, self.agent_url = url_of(self.nas_socket), url_of(self.agent_socket)
        self.config_file = self.home / "config.yaml"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._write_config(app)

    def __enter__(self) -> Embedded:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in reversed(self._processes):
            end(process)
        self.nas_socket.close()
        self.agent_socket.close()
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def config(self) -> Config:
        """The agent's configuration, as its processes have it."""
        return load(self.config_file, environ=self.environment)

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of the agent's processes: this one's, without settings of another agent."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HERMES_CRON_")}
        return {**kept, "HERMES_CRON_HOME": str(self.home), "HERMES_CRON_CONFIG": str(self.config_file)}

    def log(self, name: str) -> str:
        """What a process has logged."""
        try:
            return (self.home / f"{name}.log").read_text(errors="replace")
        except OSError:
            return ""

    def start_nas(self) -> subprocess.Popen[bytes]:
        """Start NAS, and wait until it answers.

        Raises:
            HermesCronError: It does not; with its last words.
        """
        fd = self.nas_socket.fileno()
        process = self.start(
            "nas", ["nas", "serve", "--home", str(self.home / "nas"), "--bind", f"fd://{fd}", "--public-url",
                    self.nas_url, "--allow-private-callbacks", "--settle", "5"], (fd,),
        )  # fmt: skip
        self._wait_for_answer(process)
        token = ["nas", "agents", "add", "demo", "--home", str(self.home / "nas"), "--audience", AUDIENCE]
        self.run([*token, "--token-file", str(self.home / "token")])
        return process

    def start_agent(self, *flags: str) -> subprocess.Popen[bytes]:
        """Start web and worker in one process, on the agent's socket."""
        fd = self.agent_socket.fileno()
        return self.start("agent", ["serve", "--bind", f"fd://{fd}", *flags], (fd,))

    def start(self, log: str, arguments: Sequence[str], fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        """Start a command of ours in the background; what it says goes to a log in the folder."""
        with (self.home / f"{log}.log").open("ab") as out:
            process = subprocess.Popen(  # noqa: S603 - our own command, as a list.
                command(arguments), stdout=out, stderr=out, stdin=subprocess.DEVNULL, pass_fds=fds,
                env=self.environment, start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def run(self, arguments: Sequence[str]) -> str:
        """Run a command of ours to its end; what it printed.

        Raises:
            HermesCronError: It failed; with its words.
        """
        done = subprocess.run(  # noqa: S603 - our own command, as a list.
            command(arguments), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
            timeout=_START_S, env=self.environment,
        )  # fmt: skip
        if done.returncode:
            raise HermesCronError(f"`hermes-cron {' '.join(arguments)}` failed: {(done.stdout + done.stderr).strip()}")
        return done.stdout

    def _write_config(self, app: str) -> None:
        text = _CONFIG.format(
            app=app, nas=self.nas_url, agent=self.agent_url, audience=AUDIENCE, home=self.home,
            bind=self.agent_url.removeprefix("http://"),
        )  # fmt: skip
        self.config_file.write_text(text)
        self.config_file.chmod(0o600)

    def _wait_for_answer(self, process: subprocess.Popen[bytes]) -> None:
        # The socket is open from the start, so a connection waits until the server takes it.
        host, port = self.nas_socket.getsockname()[:2]
        with socket.create_connection((host, port), timeout=_START_S) as probe:
            probe.sendall(b"GET /healthz HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
            until = monotonic() + _START_S
            while monotonic() < until:
                if select.select([probe], [], [], 0.2)[0]:
                    if b" 200 " in probe.recv(4096):
                        return
                    break
                if process.poll() is not None:
                    break
        raise HermesCronError(f"NAS did not start: {self.log('nas')[-2000:]}")


class Launcher:
    """Starts the agent when somebody connects and it is not there, as a platform does that scales to zero."""

    def __init__(self, embedded: Embedded, idle: str) -> None:
        self._embedded = embedded
        self._idle = idle
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hermes-cron-launcher", daemon=True)
        self.agent: subprocess.Popen[bytes] | None = None
        self.wakes = 0
        self.sleeps = 0
        self.failed = ""

    def start(self) -> None:
        """Begin to watch the agent's socket."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; the agent is left as it is."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def awake(self) -> bool:
        """Whether the agent is there."""
        return self.agent is not None and self.agent.poll() is None

    def _watch(self) -> None:
        while not self._over.is_set():
            if self.agent is not None:
                self._look_after(self.agent)
            elif select.select([self._embedded.agent_socket], [], [], 0.1)[0]:
                self.wakes += 1
                self.agent = self._embedded.start_agent("--exit-when-idle", self._idle)

    def _look_after(self, agent: subprocess.Popen[bytes]) -> None:
        try:
            code = agent.wait(0.1)
        except subprocess.TimeoutExpired:
            return
        self.agent = None
        self.sleeps += 1
        if code and not self._over.is_set():
            self.failed = f"the agent ended with code {code}"
            self._over.set()


def command(arguments: Sequence[str]) -> list[str]:
    """The command line that runs `hermes-cron` with this Python."""
    return [sys.executable, "-m", "hermes_cron", *arguments]


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process gracefully, or else at once."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
