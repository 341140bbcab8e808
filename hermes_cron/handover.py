"""What a worker and the processes of its pool say to each other: one JSON object a line, and nothing that is executed.

To a child: what to load (the first line), `{"run": ...}`, `{"stop": why, "hand_back": ...}`, and `{"end": true}` where
that did not help. From it: `{"ready": true}` or `{"broken": why}`, `{"log": [level, logger, text]}`, of a command
`{"said": [stream, bytes]}` (each byte is the character of its number), and for each run `{"begun": true}` and
`{"ended": ...}`, with `"last": true` where it had better be the last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from hermes_cron.clock import instant_text, read_instant
from hermes_cron.run import UNKEPT, Run, RunState
from hermes_cron.settings import HttpSettings, PromptSettings, ShellSettings, TaskSettings

MOST_BYTES = 1024 * 1024
"""The longest line that a child may send: a run's result is at most 64 KiB, and it triples at most as JSON."""

_ENDS = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
_INSTANTS = ("fire_at", "claimed_at", "started_at", "ended_at", "lease_until", "guard_at", "deadline")
_FIELDS = tuple(field.name for field in fields(Run) if field.name not in UNKEPT)


@dataclass(frozen=True, slots=True)
class Load:
    """What a child is to load before it is of use: the app, the settings of the box's tasks, the level of its log."""

    app: str
    tasks: TaskSettings
    level: int


def line(message: Mapping[str, object]) -> bytes:
    """One message, as it is sent."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Messages out of the bytes that come in; of each at most so many bytes."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._rest = bytearray()

    def add(self, chunk: bytes) -> Iterator[Mapping[str, Any]]:
        """The messages that are complete by now.

        Raises:
            ValueError: This is no message of ours.
        """
        *whole, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest
        if self._most is not None and len(rest) > self._most:
            raise ValueError("a line is too long")
        for text in whole:
            message = json.loads(text)
            if not isinstance(message, dict):
                raise ValueError("a message is no object")
            yield message


def load_message(load: Load) -> dict[str, object]:
    """The first line."""
    return asdict(load)


def read_load(message: Mapping[str, Any]) -> Load:
    """The first line, back."""
    tasks = message["tasks"]
    made = TaskSettings(
        ShellSettings(**tasks["shell"]), HttpSettings(**tasks["http"]), PromptSettings(**tasks["prompt"])
    )
    return Load(message["app"], made, message["level"])


def run_message(run: Run) -> dict[str, object]:
    """A run to be run."""
    values = {name: getattr(run, name) for name in _FIELDS} | {"args": dict(run.args)}
    return {name: instant_text(value) if isinstance(value, datetime) else value for name, value in values.items()}


def read_run(message: Mapping[str, Any]) -> Run:
    """A run to be run, back."""
    instants = {name: read_instant(message[name]) for name in _INSTANTS if message[name] is not None}
    return Run(**{**message, **instants, "state": RunState(message["state"])})


def ended_message(run: Run) -> dict[str, object]:
    """What became of a run."""
    deadline = None if run.deadline is None else instant_text(run.deadline)
    return {"id": run.id, "state": run.state, "error": run.error, "result": run.result, "deadline": deadline}


def as_ended(run: Run, message: Mapping[str, Any]) -> Run:
    """The run with what became of it.

    Raises:
        KeyError, TypeError, ValueError: It is no end of a run. A body can write into its process's channel, too.
    """
    state, error, result = RunState(message["state"]), message["error"], message["result"]
    if message["id"] != run.id or state not in _ENDS or not isinstance(error, str) or not isinstance(result, str):
        raise ValueError("no run ends so")
    deadline = None if message["deadline"] is None else read_instant(message["deadline"])
    return replace(run, state=state, error=error, result=result, deadline=deadline)
