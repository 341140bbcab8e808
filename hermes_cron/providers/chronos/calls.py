"""Several orders at NAS: in one call where it takes batches, else one by one, a few at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from hermes_cron.arm import Order
from hermes_cron.clock import monotonic
from hermes_cron.contract import CALL_DEADLINE_S
from hermes_cron.errors import NasError, NasRefused
from hermes_cron.providers.chronos.answers import NasLacks
from hermes_cron.providers.chronos.client import CONCURRENCY, NasClient

Outcomes = Mapping[str, NasError | None]
"""By job id: why the order failed, or None where NAS did as ordered."""


def carry_out(client: NasClient, orders: Sequence[Order], until: float) -> Outcomes:
    """Carry out orders before the monotonic instant `until`; every one of them has an outcome."""
    found: dict[str, NasError | None] = {}
    size = client.batch_limit
    if len(orders) > 1 and size > 1:
        for start in range(0, len(orders), size):
            found.update(_batch(client, orders[start : start + size], until))
    left = [order for order in orders if order.job_id not in found]
    found.update(_one_by_one(client, left, until))
    return found


def _batch(client: NasClient, orders: Sequence[Order], until: float) -> Outcomes:
    try:
        return client.do_all(orders, _seconds(until))
    except NasLacks:
        return {}
    except NasRefused as error:
        # One bad item may have spoilt them all; but no call can pass with a refused credential.
        return {} if client.standing.objection() is None else {order.job_id: error for order in orders}
    except NasError as error:
        return {order.job_id: error for order in orders}


def _one_by_one(client: NasClient, orders: Sequence[Order], until: float) -> Outcomes:
    away = threading.Event()

    def carry(order: Order) -> NasError | None:
        if away.is_set():
            return NasError("NAS was not called: it did not answer a call just before.")
        try:
            client.do(order, _seconds(until))
        except NasRefused as error:
            return error
        except NasError as error:
            away.set()
            return error
        return None

    if len(orders) == 1:
        return {orders[0].job_id: carry(orders[0])}
    if not orders:
        return {}
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="hermes-cron-nas") as pool:
        return dict(zip((order.job_id for order in orders), pool.map(carry, orders), strict=True))


def _seconds(until: float) -> float:
    return min(CALL_DEADLINE_S, until - monotonic())
