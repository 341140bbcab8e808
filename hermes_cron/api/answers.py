"""What the API answers: JSON, and one form and one table for all that can go wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import falcon

from hermes_cron import errors
from hermes_cron.errors import HermesCronError

RETRY_AFTER_S = 5
STATUS: Mapping[type[HermesCronError], int] = {
    errors.JobNotFound: 404,
    errors.RunNotFound: 404,
    errors.JobExists: 409,
    errors.JobStateError: 409,
    errors.RunNotEnded: 409,
    errors.JobChanged: 412,
    errors.ScheduleError: 422,
    errors.JobInvalid: 422,
    errors.TaskNotFound: 422,
    errors.TaskInvalid: 422,
    errors.StoreError: 503,
    errors.NasError: 503,
    errors.BrokerError: 503,
    errors.ProviderError: 503,
    errors.ConfigError: 503,
    HermesCronError: 500,
}
"""The status of an error is that of the nearest of its classes."""

_FRAMEWORK = {
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path does not take this method."),
}
_log = logging.getLogger("hermes_cron.api")


class Refusal(Exception):
    """The request itself is refused, whatever it asks for."""

    def __init__(
        self, status: int, code: str, message: str, *, field: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.headers = dict(headers or {})


def refusal_of(error: Exception) -> Refusal:
    """What is answered to an error; of one that nobody foresaw, its kind stands in the log only."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, falcon.HTTPError):
        status = falcon.http_status_to_code(error.status)
        code, words = _FRAMEWORK.get(status, ("request_invalid", "The request cannot be read."))
        headers = dict(error.headers.items()) if isinstance(error.headers, Mapping) else dict(error.headers or ())
        return Refusal(status, code, error.description or words, headers=headers)
    if not isinstance(error, HermesCronError):
        _log.error("a request could not be answered", exc_info=error)
        return Refusal(500, "internal", "Something went wrong here; the log has it.")
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    if status >= 500:
        _log.error("a request could not be answered: %s [%s]", error, error.code)
    return Refusal(status, error.code, str(error), field=error.field, headers=headers)


def answer(resp: falcon.Response, body: object, status: int = 200) -> None:
    """Answer with this, as JSON."""
    resp.status = status
    resp.content_type = falcon.MEDIA_JSON
    resp.data = json.dumps(body).encode()


def refuse(resp: falcon.Response, refusal: Refusal) -> None:
    """Answer with what is refused, and why."""
    error: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
    if refusal.field:
        error["field"] = refusal.field
    resp.set_headers(refusal.headers)
    answer(resp, {"error": error}, refusal.status)
