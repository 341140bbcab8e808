"""The system under chaos: NAS, two webs behind a proxy, workers, a broker and a store of our own, each to be hurt."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from hermes_cron import bootstrap
from hermes_cron.client import Client
from hermes_cron.config import load
from hermes_cron.failpoints import NAMES
from hermes_cron.interfaces import Store
from hermes_cron.server import listen
from hermes_cron.store import open_store
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Postgres, Rabbit, Redis, Server
from tests.integration.system import System, kill_group

HERE = Path(__file__).parent
LEASE_S = "15"


@dataclass
class Part:
    """One process of ours that is kept alive: started again a moment after it died."""

    name: str
    start: object
    process: subprocess.Popen[bytes] | None = None
    down_until: float = 0.0
    frozen_until: float = 0.0


@dataclass
class World(System):
    """A `System` whose store and broker are servers of our own behind proxies."""

    store_kind: str = "sqlite"
    broker_kind: str = "redis"
    random: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kills = 0
        self.broker_server = self._server(Redis if self.broker_kind == "redis" else Rabbit, "broker")
        self.store_server: Server | None = None
        if self.store_kind == "postgres":
            self.store_server = self._server(Postgres, "store")
        elif self.store_kind == "redis":
            self.store_server = self._durable_redis()
        self.broker_proxy = Proxy(("127.0.0.1", self.broker_server.port))
        self.store_proxy = Proxy(("127.0.0.1", self.store_server.port)) if self.store_server else None
        self.nas_proxy = Proxy(self.nas_socket.getsockname()[:2])
        self.web_proxy = Proxy(self.web_socket.getsockname()[:2])
        self.second = listen("127.0.0.1:0")
        self.second_proxy = Proxy(self.second.getsockname()[:2])
        scheme = "redis" if self.broker_kind == "redis" else "amqp"
        login = "" if scheme == "redis" else "guest:guest@"
        self.broker_url = f"{scheme}://{login}127.0.0.1:{self.broker_proxy.port}/" + ("0" if scheme == "redis" else "")
        self.parts: dict[str, Part] = {}

    def _server(self, kind: type[Server], name: str) -> Server:
        folder = self.home / name
        folder.mkdir()
        server = kind(folder)
        server.prepare()
        server.start()
        return server

    def _durable_redis(self) -> Server:
        folder = self.home / "store"
        folder.mkdir()
        server = Redis(folder, durable=True)
        server.start()
        return server

    def store_url(self, port: int | None = None) -> str:
        """Where the store is, through its proxy unless a port is given."""
        if self.store_server is None or self.store_proxy is None:
            return f"sqlite:///{self.home}/hermes-cron.db"
        at = port or self.store_proxy.port
        if self.store_kind == "redis":
            return f"redis://127.0.0.1:{at}/0"
        return f"postgresql://postgres@127.0.0.1:{at}/postgres"

    @property
    def environment(self) -> dict[str, str]:
        chronos = {
            "PORTAL_URL": f"http://127.0.0.1:{self.nas_proxy.port}",
            "NAS_JWKS_URL": f"http://127.0.0.1:{self.nas_proxy.port}/.well-known/jwks.json",
            "LADDER": "10s,30s,2m",
        }  # fmt: skip
        return {
            **super().environment, **{f"HERMES_CRON_CRON__CHRONOS__{name}": value for name, value in chronos.items()},
            "HERMES_CRON_STORE__URL": self.store_url(), "HERMES_CRON_APP": "tests.chaos.tasks_app:app",
            "HERMES_CRON_WORKER__LEASE_SECONDS": LEASE_S, "HERMES_CRON_WORKER__DRAIN_SECONDS": "3",
            "HERMES_CRON_BROKER__URL": self.broker_url, "PYTHONPATH": str(HERE.parents[1]),
        }  # fmt: skip

    @property
    def store(self) -> Store:
        """The store, not through the proxy: for who looks on."""
        if self._store is None:
            self._store = open_store(self.store_url(self.store_server.port if self.store_server else None))
        return self._store

    # -- processes that are kept alive ---------------------------------------------------------------------------

    def keep(self, name: str, start: object) -> None:
        """Start a part, and have `tend` start it again when it dies."""
        self.parts[name] = Part(name, start)
        self._begin(self.parts[name])

    def _begin(self, part: Part) -> None:
        assert callable(part.start)
        part.process = part.start()

    def tend(self) -> None:
        """Start what has died and thaw what was frozen, when it is time."""
        now = time.monotonic()
        for part in self.parts.values():
            process = part.process
            if part.frozen_until and now >= part.frozen_until and process is not None:
                part.frozen_until = 0.0
                self._signal(process, signal.SIGCONT)
            if process is not None and process.poll() is not None and not part.down_until:
                part.down_until = now + 0.3
            if part.down_until and now >= part.down_until:
                part.down_until = 0.0
                self._begin(part)

    def kill(self, name: str, down: float = 0.5) -> None:
        """kill -9 of a part, which comes back after `down` seconds."""
        part = self.parts[name]
        if part.process is not None and part.process.poll() is None:
            kill_group(part.process)
            self.kills += 1
        part.down_until = time.monotonic() + down

    def freeze(self, name: str, seconds: float) -> None:
        """SIGSTOP a part for a while."""
        part = self.parts[name]
        if part.process is not None and part.process.poll() is None:
            self._signal(part.process, signal.SIGSTOP)
            part.frozen_until = time.monotonic() + seconds

    def _signal(self, process: subprocess.Popen[bytes], number: int) -> None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return

    def begin_all(self, workers: int) -> None:
        """NAS, two webs, workers; each started again when it dies."""
        self.callback_url = f"http://127.0.0.1:{self.web_proxy.port}"
        self.public_url = f"http://127.0.0.1:{self.nas_proxy.port}"
        self.keep("nas", self._nas)
        self.wait(lambda: self.answers(f"{self.nas_url}/healthz"), "NAS answers")
        if not self.token_file.exists():
            done = self.cli(
                "nas", "agents", "add", "it", "--home", str(self.home / "nas"), "--audience", "agent:it",
                "--token-file", str(self.token_file),
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        self.keep("web0", lambda: self.start_web(0))
        self.keep("web1", lambda: self.start_web(1, self.second))
        for number in range(workers):
            self.keep(f"worker{number}", lambda number=number: self._worker(number))

    def _nas(self) -> subprocess.Popen[bytes]:
        fd = self.nas_socket.fileno()
        return self.start(
            "nas", "nas", "serve", "--home", str(self.home / "nas"), "--bind", f"fd://{fd}", "--public-url",
            self.public_url, "--allow-private-callbacks", "--settle", "20", fds=(fd,),
        )  # fmt: skip

    def _worker(self, number: int) -> subprocess.Popen[bytes]:
        # Every third worker carries a failpoint, so that it dies in the middle of something.
        self.env.pop("HERMES_CRON_FAILPOINTS", None)
        if self.random.random() < 0.34:
            name = self.random.choice([name for name in NAMES if not name.startswith("webhook")])
            self.env["HERMES_CRON_FAILPOINTS"] = f"{name}:kill:{self.random.randint(1, 12)}"
        try:
            return self.start_worker(number)
        finally:
            self.env.pop("HERMES_CRON_FAILPOINTS", None)

    def client(self) -> Client:
        """The door to jobs, through the proxies as everybody else."""
        config = load(environ=self.environment)
        return bootstrap.open_client(config, bootstrap.load_app("tests.chaos.tasks_app:app"))

    def heal(self) -> None:
        """End every fault."""
        for proxy in self.proxies():
            proxy.set("ok")
        for server in self.servers():
            server.signal(signal.SIGCONT)
            if server.process is None or server.process.poll() is not None or not server.ready():
                server.kill()
                server.start()
        for part in self.parts.values():
            part.frozen_until = min(part.frozen_until, time.monotonic()) if part.frozen_until else 0.0
            part.down_until = min(part.down_until, time.monotonic()) if part.down_until else 0.0
        self.tend()

    def proxies(self) -> list[Proxy]:
        """All proxies."""
        found = [self.broker_proxy, self.nas_proxy, self.web_proxy, self.second_proxy]
        return found + ([self.store_proxy] if self.store_proxy else [])

    def servers(self) -> list[Server]:
        """All servers of our own."""
        return [self.broker_server] + ([self.store_server] if self.store_server else [])

    def close(self) -> None:
        for part in self.parts.values():
            if part.process is not None:
                self._signal(part.process, signal.SIGCONT)
                kill_group(part.process)
        super().close()
        for proxy in self.proxies():
            proxy.close()
        for server in self.servers():
            server.close()
        self.second.close()

    def _drop_queue(self) -> None:
        """The broker is ours, and goes as a whole."""


class Tender:
    """Tends the world's processes from a thread."""

    def __init__(self, world: World) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(world,), daemon=True)
        self._thread.start()

    def _run(self, world: World) -> None:
        while not self._over.wait(0.1):
            world.tend()

    def stop(self) -> None:
        """Tend no more."""
        self._over.set()
        self._thread.join()
