"""Celery beat's jobs in a file: the rows of django-celery-beat, as `dumpdata` writes them, or a `beat_schedule`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hermes_cron.cli.beat import When, clocked_when, crontab_when, entry, interval_when, solar_when
from hermes_cron.cli.beat_cron import FIELDS
from hermes_cron.cli.foreign import Found, text_of
from hermes_cron.errors import JobInvalid

HINT = (
    "Give the JSON of `manage.py dumpdata django_celery_beat`, or of a beat_schedule. Beat's own celerybeat-schedule"
    " is a pickle, which runs whatever is in it, and is not opened: name the app with -A instead."
)

_ROW = "django_celery_beat."
_ROUTING = ("queue", "exchange", "routing_key", "priority", "description")
_KINDS = ("crontab", "interval", "clocked", "solar")
_PERIODS = {"days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1, "microseconds": 1e-6}

Rows = Mapping[tuple[str, str], Mapping[str, Any]]


def beat_jobs(file: Path) -> list[Found]:
    """The jobs in it.

    Raises:
        JobInvalid: It is no such file.
    """
    try:
        top = json.loads(text_of(file))
    except JobInvalid as error:
        raise JobInvalid(error.message, hint=HINT, field="file") from error
    except (ValueError, RecursionError) as error:
        raise JobInvalid(f"{file} is no JSON.", hint=HINT, field="file") from error
    if isinstance(top, list):
        return _of_rows(top)
    schedule = top.get("beat_schedule") if isinstance(top, dict) else None
    if not isinstance(schedule, dict):
        raise JobInvalid(f"{file} has neither rows nor a beat_schedule.", hint=HINT, field="file")
    zone = top.get("timezone") or ("UTC" if top.get("enable_utc", True) else None)
    return [_of_entry(name, said, str(zone) if zone else None) for name, said in schedule.items()]


def _of_entry(name: str, said: object, zone: str | None) -> Found:
    if not isinstance(said, dict):
        return Found(name, why="it is no entry: write task, schedule, args, kwargs, options")
    schedule, options = said.get("schedule"), said.get("options")
    if isinstance(schedule, dict) and set(schedule) <= set(FIELDS):
        when = crontab_when(schedule, zone)
    elif isinstance(schedule, int | float):
        when = interval_when(schedule, rounded=bool(said.get("relative")))
    else:
        when = When(why=f"its schedule is neither seconds nor an object of {', '.join(FIELDS)}")
    options = options if isinstance(options, dict) else {}
    return entry(name, said.get("task"), when, args=said.get("args"), kwargs=said.get("kwargs"), options=options)


def _of_rows(records: list[Any]) -> list[Found]:
    tables: dict[tuple[str, str], Mapping[str, Any]] = {}
    for record in records:
        fields, model = (record.get("fields"), record.get("model")) if isinstance(record, dict) else (None, None)
        if isinstance(fields, dict) and isinstance(model, str) and model.lower().startswith(_ROW):
            tables[model.lower().removeprefix(_ROW), str(record.get("pk") or fields.get("name"))] = fields
    return [_of_row(fields, tables) for (model, _), fields in tables.items() if model == "periodictask"]


def _of_row(row: Mapping[str, Any], tables: Rows) -> Found:
    name = str(row.get("name") or "")
    try:
        args, kwargs = (json.loads(row.get(one) or empty) for one, empty in (("args", "[]"), ("kwargs", "{}")))
        headers = json.loads(row.get("headers") or "{}")
    except (TypeError, ValueError, RecursionError):
        return Found(name, why="its args, kwargs or headers are no JSON")
    options = {**{one: row.get(one) for one in _ROUTING}, "headers": headers}
    options["expires"] = row.get("expires") or row.get("expire_seconds")
    kind = next((kind for kind in _KINDS if row.get(kind) is not None), "")
    policy = {"repeat": 1} if row.get("one_off") and kind != "clocked" else dict[str, Any]()
    if row.get("start_time"):
        policy["starts_at"] = row["start_time"]
    return entry(
        name, row.get("task"), _row_when(kind, row, tables), args=args, kwargs=kwargs, options=options, policy=policy,
        paused=row.get("enabled") is False,
    )  # fmt: skip


def _row_when(kind: str, row: Mapping[str, Any], tables: Rows) -> When:
    if not kind:
        return When(why="it has no schedule")
    at = tables.get((f"{kind}schedule", str(row[kind])))
    if at is None:
        return When(why=f"its {kind} {row[kind]} is not in the file: dump all of django_celery_beat")
    if kind == "crontab":
        return crontab_when(at, str(at["timezone"]) if at.get("timezone") else None)
    if kind == "interval":
        every, size = at.get("every"), _PERIODS.get(str(at.get("period")), 0)
        return interval_when(every * size if isinstance(every, int) else every)
    if kind == "clocked":
        return clocked_when(at.get("clocked_time"), None)
    return solar_when(at.get("event"), at.get("latitude"), at.get("longitude"))
