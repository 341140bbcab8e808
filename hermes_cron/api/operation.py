"""What a handler says of itself, in one place: the OpenAPI document is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

F = TypeVar("F", bound=Callable[..., None])
METHODS = ("get", "post", "put", "patch", "delete")


class Resource(Protocol):
    """What answers at one path."""

    path: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method at one path: what it does, what it takes, and what it answers by status."""

    summary: str
    answers: Mapping[int, object]
    body: type | None = None
    body_required: bool = True
    query: type | None = None
    headers: tuple[str, ...] = ()
    refusals: tuple[int, ...] = ()


def operation(
    answers: Mapping[int, object], *, body: type | None = None, body_required: bool = True, query: type | None = None,
    headers: tuple[str, ...] = (), refusals: tuple[int, ...] = (),
) -> Callable[[F], F]:  # fmt: skip
    """Say what a handler takes and answers; its summary is the first line of its docstring."""

    def tell(handler: F) -> F:
        summary = (handler.__doc__ or "").partition("\n")[0].rstrip(".")
        told: Any = handler
        told.operation = Operation(summary, answers, body, body_required, query, headers, refusals)
        return handler

    return tell


def operations_of(resource: Resource) -> Mapping[str, Operation]:
    """The operations of a resource, by method."""
    handlers = {method: getattr(resource, f"on_{method}", None) for method in METHODS}
    found = {method: getattr(handler, "operation", None) for method, handler in handlers.items()}
    return {method: told for method, told in found.items() if isinstance(told, Operation)}
