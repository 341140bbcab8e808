"""`/openapi.json`: OpenAPI 3.1, made of what the handlers say of themselves and of the forms they read and write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import falcon
import msgspec

from hermes_cron.api import forms
from hermes_cron.api.answers import answer
from hermes_cron.api.operation import Operation, Resource, operation, operations_of
from hermes_cron.apikeys import READ, WRITE
from hermes_cron.version import __version__

PATH = "/openapi.json"
_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"{(\w+)}")
_WORDS = {
    400: "The request cannot be read.", 401: "It has no good API key.", 403: "It may not do this.",
    404: "There is no such thing.", 409: "The state does not allow it.", 412: "It was changed meanwhile.",
    413: "The body is too long.", 414: "The URL is too long; the server itself says so.",
    415: "It was not sent as JSON.", 421: "It called us by an unknown name.", 422: "It cannot be so.",
    500: "Something went wrong here.", 503: "Store or NAS cannot be reached; try again.",
}  # fmt: skip
_ALWAYS = (401, 403, 414, 421, 500, 503)
_HEADERS = {
    "If-Match": "The ETag that the job must still have.",
    "Idempotency-Key": "Names this request: repeated, it makes nothing new, and is answered 201 again.",
}


class Document:
    """The document of these resources."""

    path = PATH

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._resources = [*resources, self]

    @operation({200: dict[str, Any]})
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show this document."""
        answer(resp, document(self._resources))


def document(resources: Sequence[Resource]) -> dict[str, Any]:
    """OpenAPI 3.1 of these resources."""
    told = [(resource.path, operations_of(resource)) for resource in resources]
    types = [kind for _, operations in told for kind in _types(operations.values())]
    structs, schemas = msgspec.json.schema_components([*types, forms.Error], ref_template=_REF)
    schema_of = dict(zip(map(str, [*types, forms.Error]), structs, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hermes-cron", "version": __version__,
            "description": "Jobs, the ledger, arms and the stop. Scopes: `read` for GET, `write` for all else.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": {
            path: {method: _operation(path, method, told, schema_of) for method, told in operations.items()}
            for path, operations in told
        },
        "components": {
            "securitySchemes": {"key": {
                "type": "http", "scheme": "bearer",
                "description": "An API key of web.api_keys_file; without such a file, this machine alone needs none.",
            }},
            "schemas": schemas,
        },
    }  # fmt: skip


def _types(operations: Iterable[Operation]) -> list[Any]:
    return [kind for told in operations for kind in (told.body, *told.answers.values()) if kind is not None]


def _operation(path: str, method: str, told: Operation, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": _id(path, method), "summary": told.summary, "x-scope": READ if method == "get" else WRITE,
        "parameters": [*_path_parameters(path), *_headers(told), *_query(told)],
        "responses": _responses(method, told, schema_of),
    }  # fmt: skip
    if told.body is not None:
        content = {"application/json": {"schema": schema_of[str(told.body)]}}
        found["requestBody"] = {"required": told.body_required, "content": content}
    return found


def _id(path: str, method: str) -> str:
    words = [word.strip("{}") for word in path.removeprefix("/api/cron/").removesuffix(".json").split("/") if word]
    return "_".join([method, *words])


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(path)
    ]


def _headers(told: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": _HEADERS[name], "schema": {"type": "string"}}
        for name in told.headers
    ]


def _query(told: Operation) -> list[dict[str, Any]]:
    if told.query is None:
        return []
    schema = msgspec.json.schema(told.query)["$defs"][told.query.__name__]
    return [
        {"name": name, "in": "query", "required": False, "schema": part} for name, part in schema["properties"].items()
    ]


def _responses(method: str, told: Operation, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    reads = (400,) if told.query is not None or told.headers else ()
    takes = (400, 413) if told.body is not None else ()
    changes = (415,) if method != "get" else ()
    refused = sorted({*told.refusals, *reads, *takes, *changes, *_ALWAYS})
    error = {"application/json": {"schema": schema_of[str(forms.Error)]}}
    return {
        **{str(status): {
            "description": "Done.", "content": {"application/json": {"schema": schema_of[str(kind)]}},
        } for status, kind in told.answers.items()},
        **{
            str(status): {"description": _WORDS[status]} | ({"content": error} if status != 414 else {})
            for status in refused
        },
    }  # fmt: skip
