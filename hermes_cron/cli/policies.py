"""The options that say what a job does: read as people write them, and refused in one sentence each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from hermes_cron.errors import JobInvalid
from hermes_cron.settings import duration_seconds

F = TypeVar("F", bound=Callable[..., Any])

_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_DURATIONS = ("grace", "backoff", "backoff_cap", "timeout", "jitter")
_NUMBERS = {"repeat": (1, 10**9), "max_attempts": (1, 1000), "reruns": (0, 1000), "pause_on_failure": (0, 10**6)}

_OPTIONS = {
    "overlap": ("WORD", "While a run is live: skip, queue, allow or replace."),
    "misfire": ("WORD", "Of the fires that are late: run_latest, run_all, run_all(N) or skip."),
    "grace": ("DURATION", "How late a fire may still run, like 5m."),
    "repeat": ("N", "How many fires there are to be in all."),
    "max_attempts": ("N", "How often a fire is tried, failing."),
    "backoff": ("DURATION", "The wait before the first retry; it doubles from one to the next."),
    "backoff_cap": ("DURATION", "The longest wait before a retry."),
    "timeout": ("DURATION", "How long one attempt may take."),
    "reruns": ("N", "How often a fire whose worker died is run again."),
    "starts_at": ("INSTANT", "Nothing fires before it: ISO 8601 with an offset."),
    "ends_at": ("INSTANT", "Nothing fires after it: ISO 8601 with an offset."),
    "jitter": ("DURATION", "Spread over so long, each job by a share of its own."),
    "pause_on_failure": ("N", "Pause after so many failures in a row."),
}


def policy_options(command: F) -> F:
    """Give a command one option for each policy of a job."""
    for name, (metavar, words) in reversed(_OPTIONS.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, default=None, metavar=metavar, help=words)(command)
    return command


def read_policy(given: Mapping[str, str | None]) -> dict[str, Any]:
    """The policies that were given, by name; None for one that was given empty, to go back to its default.

    Raises:
        JobInvalid: One cannot be read; `field` names it.
    """
    return {name: _read(name, text) for name, text in given.items() if text is not None}


def read_args(text: str) -> dict[str, Any]:
    """The arguments of a task, from JSON.

    Raises:
        JobInvalid: It is no JSON object, names a key twice, or is no text.
    """
    hint = """Write --args '{"name": "value"}'."""
    try:
        text.encode()
        found = json.loads(text, object_pairs_hook=_once_each)
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise JobInvalid("--args must be UTF-8 text.", hint=hint, field="args") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise JobInvalid(f"--args is no JSON: {reason}.", hint=hint, field="args") from None
    if not isinstance(found, dict):
        raise JobInvalid(f"--args must be a JSON object, not {_json_name(found)}.", hint=hint, field="args")
    return found


def read_duration(name: str, text: str) -> float:
    """Seconds, as people write them.

    Raises:
        JobInvalid: It is no duration.
    """
    try:
        return duration_seconds(text)
    except ValueError as error:
        raise JobInvalid(f"{_flag(name)} {error}, not {text[:60]!r}.", field=name) from None


def read_whole(name: str, text: str, least: int, most: int) -> int:
    """A whole number within these bounds.

    Raises:
        JobInvalid: It is none.
    """
    if _WHOLE.fullmatch(text) is None or not least <= int(text) <= most:
        words = f"{_flag(name)} must be a whole number from {least} to {most}, not {text[:60]!r}."
        raise JobInvalid(words, field=name)
    return int(text)


def _read(name: str, text: str) -> Any:
    text = text.strip()
    if not text:
        return None
    if name in _DURATIONS:
        return read_duration(name, text)
    return read_whole(name, text, *_NUMBERS[name]) if name in _NUMBERS else text


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _json_name(value: object) -> str:
    names = {list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}
    return names.get(type(value), "null")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
