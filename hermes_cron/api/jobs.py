"""`/api/cron/jobs`: add, look at, change and run jobs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import falcon
import msgspec

from hermes_cron import views
from hermes_cron.api import forms
from hermes_cron.api.answers import Refusal, answer
from hermes_cron.api.asking import (
    given,
    idempotency_key,
    read_body,
    read_optional_body,
    read_query,
    tag_of,
    wanted_revision,
)
from hermes_cron.api.operation import operation
from hermes_cron.api.pages import page_by_id
from hermes_cron.client import Changed, Client, upcoming
from hermes_cron.errors import JobExists
from hermes_cron.job import Job
from hermes_cron.record import Record

_ECHOED = 3
JOBS = "/api/cron/jobs"
JOB = JOBS + "/{job_id}"


class _Jobs:
    """What is asked about jobs, put to the client; it is made at the first question."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    def _echo(self, resp: falcon.Response, changed: Changed, status: int = 200) -> None:
        """Answer with the job as it is now, and whether it is armed."""
        client, job = self._client(), changed.job
        view = echo_view(client, client.record(job.id), job)
        view["arm"] = view["arm"] if changed.armed else "wanted"
        resp.set_header("ETag", tag_of(job))
        answer(resp, view, status)


class Jobs(_Jobs):
    """All jobs."""

    path = JOBS

    @operation({200: forms.JobPage}, query=forms.PageQuery)
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List jobs, by id."""
        query, client = read_query(req, forms.PageQuery), self._client()
        records = [record for record in client.list() if record.job is not None]
        page, after = page_by_id(records, lambda record: record.job_id, query.limit, given(query.cursor))
        items = [job_view(client, record, record.job) for record in page if record.job is not None]
        answer(resp, {"items": items, "next": after})

    @operation({201: forms.JobEcho}, body=forms.NewJob, headers=("Idempotency-Key",), refusals=(409, 422))
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Add a job; 201 too where its alarm could not be armed yet: `arm` is then `wanted`."""
        key, client = idempotency_key(req), self._client()
        body, raw = read_body(req, forms.NewJob)
        origin = _origin(key, raw)
        try:
            changed = client.add(
                body.id, body.schedule, body.task, args=body.args, timezone=body.timezone, anchor=body.anchor,
                policy=_chosen(body.policy), origin=origin,
            )  # fmt: skip
        except JobExists:
            changed = _made_before(client, body.id, origin)
            resp.set_header("Idempotent-Replayed", "true")
        resp.set_header("Location", f"{JOBS}/{body.id}")
        self._echo(resp, changed, 201)


class OneJob(_Jobs):
    """One job."""

    path = JOB

    @operation({200: forms.JobEcho}, refusals=(404,))
    def on_get(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Show a job; its ETag is that of what was ordered."""
        client = self._client()
        record = client.record(job_id)
        job = record.job or client.get(job_id)
        resp.set_header("ETag", tag_of(job))
        answer(resp, echo_view(client, record, job))

    @operation({200: forms.JobEcho}, body=forms.JobEdit, headers=("If-Match",), refusals=(404, 409, 412, 422))
    def on_patch(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Change what is given of a job, and nothing else."""
        body, _ = read_body(req, forms.JobEdit)
        client = self._client()
        revision = wanted_revision(req, client.get(job_id))
        policy = None if body.policy is None else msgspec.to_builtins(body.policy)
        self._echo(resp, client.update(
            job_id, schedule=body.schedule, timezone=body.timezone, task=body.task, args=body.args,
            anchor=body.anchor, policy=policy, if_revision=revision,
        ))  # fmt: skip

    @operation({200: forms.JobEcho}, body=forms.JobOrder, headers=("If-Match",), refusals=(404, 409, 412, 422))
    def on_put(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Put a whole order in the place of a job's; what is not given is its default."""
        body, _ = read_body(req, forms.JobOrder)
        client = self._client()
        revision = wanted_revision(req, client.get(job_id))
        self._echo(resp, client.update(
            job_id, schedule=body.schedule, timezone=body.timezone or client.timezone, task=body.task,
            args=body.args, anchor=body.anchor, policy=_all_of(body.policy), if_revision=revision,
        ))  # fmt: skip

    @operation({200: forms.JobRemoved}, headers=("If-Match",), refusals=(404, 412))
    def on_delete(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Remove a job; a live run of it goes on to its end, and the ledger keeps what was."""
        client = self._client()
        changed = client.remove(job_id, if_revision=wanted_revision(req, client.get(job_id)))
        answer(resp, {"id": job_id, "removed": True, "arm": "none" if changed.armed else "disarm wanted"})


class PauseJob(_Jobs):
    """A job's pause."""

    path = JOB + "/pause"

    @operation({200: forms.JobEcho}, body=forms.Pause, body_required=False, refusals=(404, 409))
    def on_post(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Let nothing of a job start from now on; what runs, goes on."""
        body = read_optional_body(req, forms.Pause)
        self._echo(resp, self._client().pause(job_id, body.reason))


class ResumeJob(_Jobs):
    """The end of a job's pause."""

    path = JOB + "/resume"

    @operation({200: forms.JobEcho}, refusals=(404, 409))
    def on_post(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Let a job fire again, counted from now."""
        self._echo(resp, self._client().resume(job_id))


class RunJob(_Jobs):
    """A run beside the schedule."""

    path = JOB + "/run"

    @operation({202: forms.RunAsked}, refusals=(404, 409))
    def on_post(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Have a job run once, now, beside its schedule."""
        client = self._client()
        answer(resp, asked_view(client, client.run(job_id)), 202)


class NextOfJob(_Jobs):
    """A job's next fires."""

    path = JOB + "/next"

    @operation({200: forms.NextFires}, query=forms.NextQuery, refusals=(404,))
    def on_get(self, req: falcon.Request, resp: falcon.Response, job_id: str) -> None:
        """Show a job's next fires, and the clock changes among them."""
        query, client = read_query(req, forms.NextQuery), self._client()
        job = client.get(job_id)
        fires, warnings = upcoming(job, query.count), job.schedule.warnings(client.now())
        view = views.schedule_view(job.schedule, fires, warnings)
        answer(resp, {"id": job.id, "state": str(job.state), **view})


def job_view(client: Client, record: Record, job: Job) -> views.View:
    """One job, as it stands in a list."""
    return views.job_view(record, job, confirms=client.confirms)


def asked_view(client: Client, changed: Changed) -> views.View:
    """A manual run that was written down."""
    key = changed.fire.key if changed.fire is not None else ""
    state = views.arm_state(client.record(changed.job.id).arm, confirms=client.confirms)
    return {"job_id": changed.job.id, "key": key, "arm": state if changed.armed else "wanted"}


def echo_view(client: Client, record: Record, job: Job) -> views.View:
    """One job, with what its schedule says."""
    warnings = job.schedule.warnings(client.now())
    return {**job_view(client, record, job), **views.schedule_view(job.schedule, upcoming(job, _ECHOED), warnings)}


def _chosen(policy: forms.Policies) -> dict[str, Any]:
    """The policies that are given; null is not to choose."""
    return {name: value for name, value in msgspec.to_builtins(policy).items() if value is not None}


def _all_of(policy: forms.Policies) -> dict[str, Any]:
    """Every policy, null where it goes back to its default."""
    given: dict[str, Any] = msgspec.to_builtins(policy)
    return dict.fromkeys(forms.Policies.__struct_fields__) | given


def _origin(key: str, body: bytes) -> str:
    if not key:
        return ""
    return ":".join(hashlib.sha256(part).hexdigest()[:32] for part in (key.encode(), body))


def _made_before(client: Client, job_id: str, origin: str) -> Changed:
    """The job that this very request made before.

    Raises:
        JobExists: Another request made it.
        Refusal: The key was used for another body (422).
    """
    record = client.record(job_id)
    job = record.job or client.get(job_id)
    if origin and job.origin == origin:
        return Changed(job)
    if origin and job.origin.partition(":")[0] == origin.partition(":")[0]:
        words = f"This Idempotency-Key made the job {job_id!r} from another body."
        raise Refusal(422, "idempotency_key_reused", words)
    raise JobExists(f"There is a job {job_id!r} already.", hint="Edit it, or choose another id.", field="id")
