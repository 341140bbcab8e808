"""The seams of a simulated agent: its own client of NAS over a model, and a queue in which nothing waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from hermes_cron import contract
from hermes_cron.arm import Order
from hermes_cron.errors import NasError
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Delivery
from hermes_cron.providers.chronos.answers import Capabilities
from hermes_cron.providers.chronos.client import NasClient
from hermes_cron.providers.chronos.standing import Standing
from hermes_cron.providers.chronos.token import StaticToken
from hermes_cron.settings import Secret
from hermes_cron.virtual.nas import ModelNas


class ModelClient(NasClient):
    """Calls a model; while `up` answers False, nothing of it is reached. `batch` is how many orders it takes in one."""

    def __init__(
        self, nas: ModelNas, up: Callable[[], bool] = lambda: True, horizon: timedelta | None = None, batch: int = 0
    ) -> None:
        super().__init__("https://nas.invalid", "https://agent.invalid", StaticToken(Secret("-")), Standing(bool))
        self._nas = nas
        self._up = up
        self._can = Capabilities(batch=batch, horizon=horizon)

    @property
    def known(self) -> Capabilities:
        """What the model can do."""
        return self._can

    def do(self, order: Order, seconds: float = contract.CALL_DEADLINE_S) -> None:
        """Have the model hold the alarm of this order, or none."""
        self._reach()
        self._nas.obey(order)

    def do_all(self, orders: Sequence[Order], seconds: float = contract.CALL_DEADLINE_S) -> dict[str, NasError | None]:
        """Have the model do several orders in one call."""
        self._reach()
        for order in orders:
            self._nas.obey(order)
        return {order.job_id: None for order in orders}

    def armed(self, until: float) -> Mapping[str, datetime | None]:
        """All that the model holds."""
        self._reach()
        return self._nas.listed()

    def capabilities(self, seconds: float) -> Capabilities:
        """What the model can do."""
        return self._can

    def _reach(self) -> None:
        if not self._up():
            raise NasError("NAS cannot be reached: it is away.")


class NoQueue:
    """A broker in which nothing waits: what is delivered is taken at once."""

    def enqueue(self, fire: Fire) -> None:
        """Nobody enqueues."""

    def consume(self, handle: Callable[[Delivery], None], free: Callable[[], int], stop: Callable[[], bool]) -> None:
        """Nothing to hand on."""

    def depth(self) -> int | None:
        """Nothing waits."""
        return 0

    def set_aside(self) -> int | None:
        """Nothing was refused."""
        return 0

    def close(self) -> None:
        """Nothing to give back."""
