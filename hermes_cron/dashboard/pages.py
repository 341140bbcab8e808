"""The pages: overview, jobs, one job, runs, one run. They show what the client knows; what changes goes to the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import falcon
import jinja2

from hermes_cron import views
from hermes_cron.browse import ledger_page, ledger_place
from hermes_cron.client import Client, upcoming
from hermes_cron.dashboard import words
from hermes_cron.dashboard.overview import overview
from hermes_cron.errors import HermesCronError
from hermes_cron.ledger import Entry, FireState
from hermes_cron.logs import one_line
from hermes_cron.record import Record

HERE = Path(__file__).parent
_STRIP = 20
_STRIPS_FROM = 2000
_UPCOMING = 10
_MOST_JOBS = 500
_ROWS = 50
Values = Mapping[str, Any]
Load = Callable[[], Mapping[str, int | None]]


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, finalize=words.shown,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"span": words.span, "wall": words.wall, "away": words.away, "pretty": words.pretty}
    made.filters |= {"block": words.block, "said": words.said, "one_line": one_line}
    made.globals |= {"LETTERS": words.LETTERS}
    return made


_PAGES = _environment()


def show(resp: falcon.Response, template: str, values: Values, status: int = 200) -> None:
    """Answer with a page."""
    resp.status = status
    resp.content_type = falcon.MEDIA_HTML
    resp.text = _PAGES.get_template(template).render(values)


def show_refusal(resp: falcon.Response, status: int, message: str) -> None:
    """Answer with why there is no page; where a key is missing, with a page that asks for it."""
    if status == 401:
        show(resp, "sign_in.html", {"title": "Sign in", "here": "", "message": message}, status)
    else:
        show(resp, "refused.html", {"title": str(status), "here": "", "message": message}, status)


class Page:
    """One kind of page."""

    path: str

    def __init__(self, client: Callable[[], Client], load: Load) -> None:
        self._client = client
        self._load = load


class Overview(Page):
    """Will it fire? What is next, what runs, and what is wrong."""

    path = "/"

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show the overview."""
        client = self._client()
        values = overview(client, self._load())
        show(resp, "overview.html", {"title": "Overview", "here": "overview", **values})


class Jobs(Page):
    """All jobs, each with its last outcomes."""

    path = "/jobs"

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show all jobs, or those that were asked for."""
        client, now = self._client(), self._client().now()
        wanted, state = req.get_param("q", default="")[:200], req.get_param("state", default="")
        found = [
            record for record in client.list()
            if record.job is not None and wanted.lower() in f"{record.job_id} {record.job.task}".lower()
            and state in ("", str(record.job.state))
        ]  # fmt: skip
        strips = _strips(client, found[:_MOST_JOBS])
        rows = [_row(client, record, strips.get(record.job_id, ())) for record in found[:_MOST_JOBS]]
        show(resp, "jobs.html", {
            "title": "Jobs", "here": "jobs", "rows": rows, "now": now, "q": wanted, "state": state,
            "more": len(found) - len(rows),
        })  # fmt: skip


class Job(Page):
    """One job."""

    path = "/jobs/{job_id}"

    def on_get(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Show a job: what was ordered, where it stands, when it fires, what it did."""
        client = self._client()
        record, now = client.record(job_id), client.now()
        job = record.job or client.get(job_id)
        entries = client.fires(job_id, _ROWS)
        show(resp, "job.html", {
            "title": job.id, "here": "jobs", "job": job, "record": record, "now": now,
            "view": views.job_view(record, job, confirms=client.confirms), "refused": record.arm.refused,
            "upcoming": upcoming(job, _UPCOMING), "warnings": job.schedule.warnings(now),
            "fires": views.fire_views(entries, client.runs_of(entries)), "entries": entries,
            "zone": job.schedule.timezone,
        })  # fmt: skip


class Runs(Page):
    """The ledger."""

    path = "/runs"

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show fires and their outcomes, the newest first."""
        client = self._client()
        job_id = req.get_param("job", default="")[:255] or None
        state = req.get_param("state", default="")
        states = (FireState(state),) if state in set(FireState) else ()
        try:
            before = ledger_place(req.get_param("cursor"))
        except ValueError as error:
            raise falcon.HTTPBadRequest(description="There is no such page.") from error
        page = ledger_page(client, job_id, states, _ROWS, before)
        rows = views.fire_views(page.entries, client.runs_of(page.entries))
        show(resp, "runs.html", {
            "title": "Runs", "here": "runs", "fires": rows, "entries": page.entries, "after": page.after,
            "job": job_id or "", "state": state, "states": [str(state) for state in FireState], "now": client.now(),
        })  # fmt: skip


class Run(Page):
    """One run."""

    path = "/runs/{run_id}"

    def on_get(self, req: falcon.Request, resp: falcon.Response, run_id: str) -> None:
        """Show a run: what it was to do, and what became of it."""
        client = self._client()
        run, zone = client.find_run(run_id), "UTC"
        try:
            zone = client.get(run.job_id).schedule.timezone
        except HermesCronError:
            zone = "UTC"
        show(resp, "run.html", {
            "title": run.id, "here": "runs", "run": run, "view": views.run_view(run), "zone": zone,
            "now": client.now(), "output": None if run.open else client.output(run.id),
        })  # fmt: skip


class Static:
    """The script and the sheet: the only two files there are."""

    path = "/static/{name}"
    _KINDS: Mapping[str, str] = {"dashboard.js": "text/javascript; charset=utf-8", "dashboard.css": "text/css"}
    paths = ("/static/dashboard.js", "/static/dashboard.css")

    def __init__(self) -> None:
        self._files = {name: (HERE / "static" / name).read_bytes() for name in self._KINDS}

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Answer with a file."""
        if name not in self._files:
            raise falcon.HTTPNotFound
        resp.content_type = self._KINDS[name]
        resp.set_header("Cache-Control", "no-cache")
        resp.data = self._files[name]


def _strips(client: Client, records: Sequence[Record]) -> Mapping[str, Sequence[Entry]]:
    """The last fires of each job, the newest first: of most in one question, of those that fire seldom one by one."""
    found: dict[str, list[Entry]] = {}
    for entry in client.fires(limit=_STRIPS_FROM):
        found.setdefault(entry.job_id, []).append(entry)
    seldom = [record.job_id for record in records if len(found.get(record.job_id, ())) < _STRIP and _has_fired(record)]
    return {**found, **{job_id: list(client.fires(job_id, _STRIP)) for job_id in seldom}}


def _has_fired(record: Record) -> bool:
    return record.job is not None and record.job.last_fire_at is not None


def _row(client: Client, record: Record, strip: Sequence[Entry]) -> Values:
    job = record.job
    state = views.arm_state(record.arm, confirms=client.confirms)
    return {"job": job, "arm": state, "refused": record.arm.refused, "strip": strip[:_STRIP][::-1]}
