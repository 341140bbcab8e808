"""Jobs that stand in a YAML file: by id, each with its schedule, and with what else there is to say of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from hermes_cron.app import Declared
from hermes_cron.cli.policies import read_policy
from hermes_cron.document import MAX_BYTES, Node, read
from hermes_cron.errors import JobInvalid
from hermes_cron.policy import Policy

_POLICIES = frozenset(f.name for f in fields(Policy))
_OWN = ("schedule", "task", "timezone", "anchor", "args")
_HINT = "Write `jobs:`, below it the id of each job, and below that `schedule: ...`."


def jobs_in(file: Path) -> list[Declared]:
    """The jobs of a file: `jobs:` with ids, or the ids alone. `-` is the standard input.

    Raises:
        ConfigError: It cannot be read, or is no YAML.
        JobInvalid: What stands there is no job; it says in which line.
    """
    if file == Path("-"):
        file = Path("standard input")
        top = read(file, sys.stdin.buffer.read(MAX_BYTES + 1)).entries()
    else:
        top = read(file).entries()
    jobs = top["jobs"].entries() if top is not None and list(top) == ["jobs"] else top
    if not jobs:
        raise JobInvalid(f"{file} has no jobs.", hint=_HINT, field="jobs")
    return [_job(job_id, node) for job_id, node in jobs.items()]


def _job(job_id: str, node: Node) -> Declared:
    entries = node.entries()
    if entries is None or "schedule" not in entries:
        raise JobInvalid(f"{node.where}: the job {job_id!r} has no schedule.", hint=_HINT, field="schedule")
    values = {name: _value(name, entry) for name, entry in entries.items()}
    args = values.get("args") or {}
    if not isinstance(args, Mapping):
        raise JobInvalid(f"{entries['args'].where}: args must be a mapping.", field="args")
    zone = values.get("timezone")
    return Declared(
        job_id, str(values.get("task") or "-"), str(values["schedule"]), None if zone is None else str(zone),
        str(values.get("anchor") or "fire"), args, _policy(values),
    )  # fmt: skip


def _value(name: str, node: Node) -> Any:
    if name not in _POLICIES and name not in _OWN:
        known = ", ".join([*_OWN, *sorted(_POLICIES)])
        raise JobInvalid(f"{node.where}: {name!r} is nothing that a job has.", hint=f"Known are {known}.", field=name)
    try:
        return node.value()
    except ValueError as error:
        raise JobInvalid(f"{node.where}: {name} {error}.", field=name) from None


def _policy(values: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in values.items() if name in _POLICIES and value is not None}
    # Text is read as on the command line (`5m`); a number is one already.
    texts = {name: value for name, value in said.items() if isinstance(value, str)}
    return {**said, **read_policy(texts)}
