"""Post to a WSGI application in this process, as a server would hand it over, without one."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from wsgiref.util import setup_testing_defaults

from hermes_cron.contract import FIRE_PATH
from hermes_cron.webapp import Wsgi


@dataclass(frozen=True, slots=True)
class Answer:
    """What the fire endpoint answered: an HTTP status, and the JSON object of its body."""

    status: int
    body: Mapping[str, Any]


def post_fire(app: Wsgi, body: bytes, token: str) -> Answer:
    """The answer to `POST /api/cron/fire` with this body; without a header where the token is empty."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST", "PATH_INFO": FIRE_PATH, "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)), "REMOTE_ADDR": "127.0.0.1", "wsgi.input": io.BytesIO(body),
    }  # fmt: skip
    setup_testing_defaults(environ)
    if token:
        environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    status: list[str] = []

    def start_response(line: str, *_: object) -> None:
        status.append(line)

    answer = b"".join(app(environ, start_response))
    return Answer(int(status[0][:3]), json.loads(answer))
