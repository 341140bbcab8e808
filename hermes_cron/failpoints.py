"""Named places at which a test can make this process die, freeze or fail. Off, and costing nothing, unless set.

`HERMES_CRON_FAILPOINTS=firing.claimed:kill,arm.called:sleep=3:2` kills the process after a claim, and has the second
call to NAS followed by three seconds of nothing. Actions: `kill` (SIGKILL), `stop` (SIGSTOP), `raise`, `sleep=N`; a
number behind them says at which passing, and `*` at each.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from hermes_cron.errors import ConfigError

VARIABLE = "HERMES_CRON_FAILPOINTS"
NAMES = (
    "webhook.verified",
    "webhook.enqueued",
    "firing.received",
    "firing.claimed",
    "firing.acked",
    "firing.armed",
    "firing.begun",
    "firing.ran",
    "firing.completed",
    "firing.rearmed",
    "arm.leased",
    "arm.called",
    "arm.confirmed",
    "store.before_commit",
    "store.after_commit",
)
"""Every place, in the order in which one fire passes them."""


class Planted(Exception):
    """What a failpoint with `raise` raises: no error of ours, so that nothing is prepared for it."""


_SLEEP = re.compile(r"sleep=\d+(\.\d+)?", re.ASCII)


@dataclass(slots=True)
class _Plan:
    action: str
    at: int | None
    passed: int = 0


_lock = threading.Lock()


def read_plans(text: str) -> dict[str, _Plan]:
    """What a variable's text asks for.

    Raises:
        ConfigError: There is no such place, or no such action.
    """
    plans = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, rest = part.partition(":")
        action, _, at = rest.partition(":")
        known = action in ("kill", "stop", "raise") or _SLEEP.fullmatch(action)
        if name not in NAMES or not known or not (at in ("", "*") or at.isdigit()):
            raise ConfigError(f"{VARIABLE}: {part!r} is not NAME:ACTION[:N].", hint=f"Names are {', '.join(NAMES)}.")
        plans[name] = _Plan(action, None if at == "*" else int(at or 1))
    return plans


def planned(environ: Mapping[str, str] = os.environ) -> dict[str, _Plan]:
    """What the environment asks for."""
    return read_plans(environ.get(VARIABLE, ""))


try:
    _plans = planned()
except ConfigError as _error:
    # It is read when the module is imported, where nobody could catch it.
    raise SystemExit(f"hermes-cron: {_error} [{_error.code}]") from _error


def failpoint(name: str) -> None:
    """Pass a named place."""
    if not _plans:
        return
    plan = _plans.get(name)
    if plan is None:
        return
    with _lock:
        plan.passed += 1
        due = plan.at in (None, plan.passed)
    if due:
        _act(name, plan.action)


def _act(name: str, action: str) -> None:
    if action in ("kill", "stop"):
        os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
    elif action == "raise":
        raise Planted(name)
    else:
        time.sleep(float(action.partition("=")[2]))
