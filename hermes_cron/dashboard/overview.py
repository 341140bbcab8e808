"""What the overview says: one sentence, what needs somebody, what is next, and what was last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from hermes_cron import views
from hermes_cron.client import Client, upcoming
from hermes_cron.dashboard.words import away
from hermes_cron.ledger import DEAD_LETTER
from hermes_cron.record import Record

_NEXT = 12
_EACH = 3
_LAST = 12
_DAY = timedelta(hours=24)
_LATE = timedelta(seconds=60)
_MOST_FAILED = 20


def overview(client: Client, load: Mapping[str, int | None]) -> Mapping[str, Any]:
    """Everything the page shows."""
    now, records, stopped = client.now(), client.list(), client.stopped()
    wrong = [*_wrong_arms(client), *_wrong_load(load), *_late(records, now), *_failed(client, now)]
    if stopped:
        wrong.insert(0, ("stop", "Everything is stopped: nothing fires until the stop is ended.", ""))
    ahead = sorted(
        (at, record.job) for record in records if record.job is not None for at in upcoming(record.job, _EACH)
    )[:_NEXT] if not stopped else []  # fmt: skip
    return {
        "now": now, "load": load, "wrong": wrong, "stopped": stopped, "confirms": client.confirms,
        "verdict": _verdict(wrong, ahead, now), "ahead": ahead, "last": client.fires(limit=_LAST),
        "jobs": len(records), "zones": {r.job_id: r.job.schedule.timezone for r in records if r.job is not None},
        "running": [run for record in records for run in record.open_runs],
    }  # fmt: skip


Wrong = tuple[str, str, str]
"""What is wrong: its kind, a sentence, and the page that shows more."""


def _verdict(wrong: Sequence[Wrong], ahead: Sequence[tuple[datetime, Any]], now: datetime) -> str:
    if wrong:
        return f"{len(wrong)} {'thing needs' if len(wrong) == 1 else 'things need'} you."
    if not ahead:
        return "Nothing is to fire."
    at, job = ahead[0]
    return f"All is well. {job.id} fires {away(at, now)}." if at > now else f"All is well. {job.id} is due."


def _wrong_arms(client: Client) -> Iterator[Wrong]:
    for record in client.arms():
        state = views.arm_state(record.arm, confirms=client.confirms)
        link = f"/jobs/{record.job_id}" if record.job is not None else ""
        if record.arm.refused and client.confirms:
            yield "arm", f"NAS refuses the alarm of {record.job_id}: {record.arm.refused}", link
        elif state in ("wanted", "disarm wanted"):
            yield "arm", f"The alarm of {record.job_id} is {state}: NAS has not confirmed it yet.", link


def _wrong_load(load: Mapping[str, int | None]) -> Iterator[Wrong]:
    for name, number in load.items():
        if number is None:
            yield "load", f"The {name} cannot be read.", ""
    if load.get("dead_leases"):
        yield "lease", f"{load['dead_leases']} runs whose worker died wait to be taken over.", "/runs?state=running"


def _late(records: Sequence[Record], now: datetime) -> Iterator[Wrong]:
    late = [r.job_id for r in records if r.arm.wake_at is not None and r.arm.wake_at < now - _LATE]
    if late:
        names = ", ".join(late[:3]) + (", …" if len(late) > 3 else "")
        yield "late", f"Due for over a minute: {names}. Is a worker alive, with a free slot?", "/jobs"


def _failed(client: Client, now: datetime) -> Iterator[Wrong]:
    recent = [
        entry for entry in client.fires(limit=_MOST_FAILED, states=sorted(DEAD_LETTER))
        if entry.settled_at is not None and entry.settled_at > now - _DAY
    ]  # fmt: skip
    by_job: dict[str, int] = {}
    for entry in recent:
        by_job[entry.job_id] = by_job.get(entry.job_id, 0) + 1
    for job_id, count in by_job.items():
        fires = "1 fire" if count == 1 else f"{count} fires"
        yield "failed", f"{fires} of {job_id} failed within a day.", f"/runs?state=failed&job={job_id}"
