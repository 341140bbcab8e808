"""One HTTP call for a run, which does not wait any longer than the run may."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Mapping

from hermes_cron.clock import monotonic, utc_now
from hermes_cron.errors import HermesCronError, OutboundError, TaskFailed, TaskInvalid
from hermes_cron.outbound import Answer, Judge, Outbound
from hermes_cron.run import Run

MAX_SECONDS = 3600.0
_POLL_S = 0.1


def check_timeout(value: object) -> None:
    """Refuse what is no time that a call may take.

    Raises:
        TaskInvalid: It is none.
    """
    seconds = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < seconds <= MAX_SECONDS:
        raise TaskInvalid(f"timeout must be seconds, above 0 and up to {MAX_SECONDS:g}.", field="args")


def call(
    run: Run, method: str, url: str, *, allow: Judge, headers: Mapping[str, str], body: bytes | None,
    timeout: float, max_bytes: int,
) -> Answer:  # fmt: skip
    """The answer to one call, of any status; within `timeout` seconds, and before the run's deadline.

    A run that is asked to stop does not wait for the answer. What was sent by then has its effect all the same.

    Raises:
        TaskFailed: The run is to stop.
        OutboundError: No whole answer came in time, or the address is not allowed.
    """
    left = timeout if run.deadline is None else min(timeout, (run.deadline - utc_now()).total_seconds())
    if left <= 0:
        raise TaskFailed("the run's time is up")
    answers: queue.SimpleQueue[Answer | HermesCronError] = queue.SimpleQueue()

    def ask() -> None:
        outbound = Outbound(allow, connections=1)
        try:
            answers.put(outbound.request(method, url, headers=headers, body=body, deadline=left, max_bytes=max_bytes))
        except HermesCronError as error:
            answers.put(error)
        finally:
            outbound.close()

    # A socket cannot be asked to stop, so the call has a thread of its own, which ends at the deadline.
    threading.Thread(target=ask, name=f"hermes-cron-call-{run.id}", daemon=True).start()
    until = monotonic() + left + 1
    while monotonic() < until:
        if run.cancelled():
            raise TaskFailed(f"stopped while {method} {url.partition('?')[0]} was on its way")
        try:
            answer = answers.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if isinstance(answer, HermesCronError):
            raise answer
        return answer
    raise OutboundError(f"{method} {url.partition('?')[0]} did not end in time.", sent=True)
