"""`CountingClient`: what an agent asks of NAS, counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from hermes_cron import contract
from hermes_cron.arm import Order
from hermes_cron.simulation.tally import Tally
from hermes_cron.virtual.client import ModelClient
from hermes_cron.virtual.nas import ModelNas


class CountingClient(ModelClient):
    """Counts what the model carries out."""

    def __init__(self, nas: ModelNas, up: Callable[[], bool], tally: Tally) -> None:
        super().__init__(nas, up)
        self._tally = tally

    def do(self, order: Order, seconds: float = contract.CALL_DEADLINE_S) -> None:
        """Have the model hold the alarm of this order, or none."""
        super().do(order, seconds)
        if order.job_id.startswith(contract.SENTINEL_PREFIX):
            self._tally.rungs += 1
        else:
            self._tally.arms += 1

    def armed(self, until: float) -> Mapping[str, datetime | None]:
        """All that the model holds."""
        found = super().armed(until)
        self._tally.lists += 1
        return found
