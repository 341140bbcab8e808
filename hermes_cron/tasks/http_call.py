"""`http`: call a URL. Private addresses are refused unless `tasks.http.allow_private`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps

from hermes_cron.errors import TaskFailed, TaskInvalid
from hermes_cron.outbound import Answer, any_address, is_public
from hermes_cron.run import Run
from hermes_cron.settings import http_url
from hermes_cron.tasks.calling import call, check_timeout
from hermes_cron.tasks.excerpt import first_of, one_line

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_RESULT_BYTES = 60 * 1024
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "expect"})
"""Headers that say how the message is sent: they are the sender's, for two opinions on that smuggle requests."""


@dataclass(frozen=True, slots=True)
class HttpCall:
    """The task `http`.

    Each call says which run makes it: `Hermes-Cron-Job`, `Hermes-Cron-Fire` (the same for every attempt at a fire)
    and `Hermes-Cron-Fence` (higher for each later grant of the job: a target may refuse what is lower than it has
    seen). No `Idempotency-Key` is sent unasked, for a target that knows it would repeat an old failure to a retry.
    """

    allow_private: bool

    def __call__(
        self, run: Run, url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None,
        json: object = None, timeout: float = 30.0,
    ) -> dict[str, object]:  # fmt: skip
        """Call `url` once, with `json` as its body if given: the status, and the beginning of the answer.

        Redirects are not followed.

        Raises:
            TaskInvalid: Called with what cannot be.
            TaskFailed: The answer is no 2xx, or the run was stopped.
            OutboundError: No whole answer came within `timeout` seconds, or the address is private.
        """
        verb = _check(url, method, headers, timeout)
        sent = {"Accept": "*/*"}
        if json is not None:
            sent["Content-Type"] = "application/json"
        sent = _merged(sent, headers or {})
        sent = _merged(sent, {"Hermes-Cron-Job": run.job_id, "Hermes-Cron-Fire": run.key,
                              "Hermes-Cron-Fence": str(run.fence)})  # fmt: skip
        answer = call(
            run, verb, url, allow=any_address if self.allow_private else is_public, headers=sent,
            body=_body(json), timeout=timeout, max_bytes=_RESULT_BYTES + 1,
        )  # fmt: skip
        text = answer.body.decode(errors="replace")
        if not answer.ok:
            raise TaskFailed(refusal(verb, url, answer.status, text), hint=_hint(answer))
        return {"status": answer.status, "body": first_of(text, _RESULT_BYTES)}


def refusal(method: str, url: str, status: int, text: str) -> str:
    """What is said of an answer that is no 2xx; the URL's query is left out, as secrets stand there."""
    said = one_line(text)
    return f"{method} {url.partition('?')[0]} answered {status}{': ' if said else '.'}{said}"


def _hint(answer: Answer) -> str:
    if 300 <= answer.status < 400:
        return "Redirects are not followed; give the URL where it ends."
    return ""


def _merged(first: Mapping[str, str], then: Mapping[str, str]) -> dict[str, str]:
    """Both, the second before the first where they name the same header."""
    said = {name.lower() for name in then}
    return {name: value for name, value in first.items() if name.lower() not in said} | dict(then)


def _body(json: object) -> bytes | None:
    try:
        return None if json is None else dumps(json, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TaskInvalid("json must be what JSON can hold.", field="args") from error


def _check(url: object, method: object, headers: object, timeout: object) -> str:
    """The method as it is sent; refuses what a job's JSON can hold and a call cannot take."""
    try:
        http_url(url)
    except ValueError as error:
        raise TaskInvalid(f"url {error}.", field="args") from error
    if not isinstance(method, str) or method.upper() not in METHODS:
        raise TaskInvalid(f"method must be one of {', '.join(METHODS)}.", field="args")
    for name, value in _pairs(headers):
        if not isinstance(name, str) or not _HEADER.fullmatch(name) or name.lower() in _OURS:
            raise TaskInvalid(f"headers cannot hold {name!r}.", field="args")
        if not isinstance(value, str) or not value.isascii() or any(ord(char) < 32 for char in value):
            raise TaskInvalid(f"The header {name} must be one line of plain text.", field="args")
    check_timeout(timeout)
    return method.upper()


def _pairs(headers: object) -> list[tuple[object, object]]:
    if headers is None:
        return []
    if not isinstance(headers, Mapping):
        raise TaskInvalid("headers must be texts by name.", field="args")
    return list(headers.items())
