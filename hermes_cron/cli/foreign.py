"""Jobs as other programs keep them, read into ours: what maps, what is lost on the way, and what cannot come along."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from hermes_cron.app import Declared
from hermes_cron.errors import JobInvalid

MAX_BYTES = 16 * 1024 * 1024

_TELLING = ("skills", "context_from", "enabled_toolsets", "workdir", "provider", "base_url", "reasoning_effort")
"""What a record may say of its run that a prompt alone does not carry; it is lost, and said so."""
_RUNS_CODE = ("script", "monitor_script", "monitor_url")
_ASSIGNMENT = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.*?)\s*", re.ASCII)
_AT = re.compile(r"\s*(@[a-z]+)\s+(.*\S)\s*", re.ASCII)
_LINE = re.compile(r"\s*((?:\S+\s+){4}\S+)\s+(.*\S)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Found:
    """One job of another program: what it is called there, what it is here (None: `why` not), and what is lost.

    `positional` are arguments that have no names there; its task gives them theirs.
    """

    name: str
    declared: Declared | None = None
    why: str = ""
    lost: tuple[str, ...] = ()
    paused: bool = False
    positional: tuple[Any, ...] = ()


def hermes_jobs(file: Path) -> list[Found]:
    """The jobs of a Hermes agent's `cron/jobs.json`; each keeps its id, so that an alarm NAS holds for it is its own.

    Raises:
        JobInvalid: It is no such file.
    """
    try:
        top = json.loads(text_of(file))
    except (ValueError, RecursionError) as error:
        raise JobInvalid(f"{file} is no JSON.", field="file") from error
    records = top.get("jobs") if isinstance(top, dict) else top
    if isinstance(records, dict):
        records = list(records.values())
    if not isinstance(records, list):
        raise JobInvalid(f"{file} has no list of jobs.", hint="Name the agent's cron/jobs.json.", field="file")
    return [_of_hermes(record) for record in records if isinstance(record, dict)]


def crontab_jobs(file: Path) -> list[Found]:
    """The lines of a user's crontab; each command becomes one of the task `shell`, by `/bin/sh -c` as cron does it.

    Raises:
        JobInvalid: It cannot be read.
    """
    return list(_of_crontab(text_of(file)))


def text_of(file: Path) -> str:
    """What stands in a file; `-` is the standard input.

    Raises:
        JobInvalid: It cannot be read, or is no text.
    """
    try:
        with click.open_file(str(file), "rb") as opened:
            content: bytes = opened.read(MAX_BYTES)
        return content.decode("utf-8-sig")
    except OSError as error:
        raise JobInvalid(f"{file} cannot be read: {error.strerror}.", field="file") from error
    except UnicodeDecodeError as error:
        raise JobInvalid(f"{file} is not UTF-8 text.", field="file") from error


def _of_hermes(record: Mapping[str, Any]) -> Found:
    job_id = str(record.get("id") or "")
    found = Found(f"{job_id} ({record['name']})" if record.get("name") else job_id)
    code = [name for name in _RUNS_CODE if record.get(name)]
    times, over = _repeat_left(record.get("repeat"))
    schedule, notes = _hermes_schedule(record.get("schedule"))
    if not schedule:
        return replace(found, why="its schedule cannot be read")
    if code or record.get("no_agent"):
        return replace(found, why=f"it runs code of the agent's own ({', '.join(code) or 'no_agent'})")
    if not record.get("prompt"):
        return replace(found, why="it has no prompt")
    if over or record.get("state") == "completed":
        return replace(found, why="it is completed")
    args = {name: record[name] for name in ("prompt", "model") if record.get(name)}
    lost = [name for name in _TELLING if record.get(name)]
    if record.get("deliver") not in (None, "", "local"):
        lost.append("deliver")
    policy = {} if times is None or record["schedule"]["kind"] == "once" else {"repeat": times}
    paused = record.get("enabled") is False or record.get("state") in ("paused", "error")
    return replace(
        found, declared=Declared(job_id, "prompt", schedule, args=args, policy=policy),
        lost=(*(f"{name} is not taken along" for name in lost), *notes), paused=paused,
    )  # fmt: skip


def _repeat_left(repeat: object) -> tuple[int | None, bool]:
    """How many fires are left (None: no end), and whether there is none."""
    times = repeat.get("times") if isinstance(repeat, dict) else None
    if not isinstance(times, int) or isinstance(times, bool) or times < 1:
        return None, False
    done = repeat.get("completed") if isinstance(repeat, dict) else 0
    left = times - (done if isinstance(done, int) else 0)
    return left, left < 1


def _hermes_schedule(schedule: object) -> tuple[str, tuple[str, ...]]:
    """Our words for a schedule of theirs, and what is to be known about that."""
    if not isinstance(schedule, dict):
        return "", ()
    kind, minutes = schedule.get("kind"), schedule.get("minutes")
    if kind == "once" and isinstance(schedule.get("run_at"), str):
        return schedule["run_at"], ()
    if kind == "interval" and isinstance(minutes, int | float) and minutes > 0:
        seconds = round(minutes * 60)
        text = f"every {seconds // 60}m" if seconds % 60 == 0 else f"every {seconds}s"
        return text, ("it is counted from fire to fire, no longer from the end of a run",)
    if kind == "cron" and isinstance(schedule.get("expr"), str):
        parts = schedule["expr"].split()
        # There the seconds stand last, here first.
        return " ".join([parts[5], *parts[:5]] if len(parts) == 6 else parts), ()
    return "", ()


def _of_crontab(text: str) -> Iterator[Found]:
    zone: str | None = None
    environment: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if assignment := _ASSIGNMENT.fullmatch(line):
            name, value = assignment[1], assignment[2].strip("'\"")
            if name == "CRON_TZ":
                zone = value or None
            else:
                environment[name] = value
            continue
        yield _of_line(f"line {number}", line, zone, dict(environment))


def _of_line(name: str, line: str, zone: str | None, environment: dict[str, str]) -> Found:
    entry = _AT.fullmatch(line) or _LINE.fullmatch(line)
    if entry is None:
        return Found(name, why="it is no line of a crontab")
    schedule, command = " ".join(entry[1].split()), entry[2]
    if schedule == "@reboot":
        return Found(name, why="@reboot is no time")
    if re.search(r"(?<!\\)%", command):
        return Found(name, why="it has input for its command, behind a %")
    shell = environment.pop("SHELL", "/bin/sh")
    lost = ("its output is kept with the run, not mailed",) if environment.pop("MAILTO", "") else ()
    digest = hashlib.sha256(f"{schedule}\n{command}".encode()).hexdigest()[:12]
    args: dict[str, Any] = {"argv": [shell, "-c", command.replace("\\%", "%")]}
    if environment:
        args["env"] = environment
    return Found(name, Declared(f"crontab-{digest}", "shell", schedule, zone, args=args), lost=lost)
