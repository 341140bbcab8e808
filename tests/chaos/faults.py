"""The script of faults, drawn from a seed: who is hurt, how, for how long."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.servers import Redis
from tests.chaos.world import World

Fault = Callable[[World, random.Random], str]


@dataclass
class Healing:
    """Something to undo at a time."""

    at: float
    undo: Callable[[], None]


class Script:
    """Draws faults and carries them out; what lasts is undone when its time is over."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.healings: list[Healing] = []
        self.counts: dict[str, int] = {}
        self.server_down = False

    def step(self) -> str:
        """One fault; its name."""
        self.mend()
        faults: list[tuple[int, Callable[[], str]]] = [
            (30, self._kill_worker), (12, self._kill_web), (6, self._kill_nas), (4, self._freeze_worker),
            (3, self._freeze_web), (8, self._toxic), (5, self._hurt_broker), (3, self._hurt_store), (3, self._nas_away),
        ]  # fmt: skip
        weights, made = zip(*faults, strict=True)
        name = self.rng.choices(made, weights)[0]()
        self.counts[name] = self.counts.get(name, 0) + 1
        return name

    def mend(self, *, everything: bool = False) -> None:
        """Undo what is over."""
        now = time.monotonic()
        for healing in [h for h in self.healings if everything or h.at <= now]:
            self.healings.remove(healing)
            healing.undo()

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        self.healings.append(Healing(time.monotonic() + seconds, undo))

    def _some(self, prefix: str) -> str:
        return self.rng.choice([name for name in self.world.parts if name.startswith(prefix)])

    def _kill_worker(self) -> str:
        self.world.kill(self._some("worker"), self.rng.choice([0.2, 0.5, 2.0]))
        return "kill worker"

    def _kill_web(self) -> str:
        self.world.kill(self._some("web"), self.rng.choice([0.2, 1.0]))
        return "kill web"

    def _kill_nas(self) -> str:
        self.world.kill("nas", self.rng.choice([0.2, 1.0, 4.0]))
        return "kill nas"

    def _nas_away(self) -> str:
        # Longer than the short retries of a delivery, and than the first rung of the ladder.
        self.world.kill("nas", 15.0)
        return "nas away"

    def _freeze_worker(self) -> str:
        # Longer than a lease less its margin, now and then: another takes over, and this one thaws.
        self.world.freeze(self._some("worker"), self.rng.choice([1.0, 3.0, 18.0]))
        return "freeze worker"

    def _freeze_web(self) -> str:
        self.world.freeze(self._some("web"), self.rng.choice([1.0, 4.0]))
        return "freeze web"

    def _toxic(self) -> str:
        proxy = self.rng.choice(self.world.proxies())
        mode = self.rng.choice(["latency", "reset", "drop", "hole"])
        proxy.set(mode)
        self._later(self.rng.uniform(0.5, 4.0), lambda: proxy.set("ok"))
        return f"proxy {mode}"

    def _hurt_broker(self) -> str:
        server = self.world.broker_server
        how = self.rng.choice(["flush", "freeze", "kill"] if isinstance(server, Redis) else ["freeze", "kill"])
        if how == "flush" and isinstance(server, Redis):
            server.flush()
        elif how == "freeze":
            server.signal(signal.SIGSTOP)
            self._later(self.rng.uniform(1, 5), lambda: server.signal(signal.SIGCONT))
        elif not self.server_down:
            self._restart(server)
        return f"broker {how}"

    def _hurt_store(self) -> str:
        server = self.world.store_server
        if server is None:
            return self._kill_worker()
        if self.rng.random() < 0.5:
            server.signal(signal.SIGSTOP)
            self._later(self.rng.uniform(0.5, 3), lambda: server.signal(signal.SIGCONT))
            return "store freeze"
        if not self.server_down:
            self._restart(server)
        return "store kill"

    def _restart(self, server: object) -> None:
        from tests.chaos.servers import Server

        assert isinstance(server, Server)
        self.server_down = True
        server.signal(signal.SIGCONT)
        server.kill()
        self.world.kills += 1

        def again() -> None:
            server.start()
            self.server_down = False

        self._later(self.rng.uniform(0.3, 3.0), again)
