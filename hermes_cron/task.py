"""`Task`: a named callable that jobs run."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hermes_cron.errors import TaskInvalid, TaskNotFound

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Task:
    """A named callable that jobs run, with their `args` as keyword arguments; it can still be called as it is.

    `bind` hands it its `Run` as the first argument. `timeout` is in seconds; a job's own goes before it. What it
    returns is kept with the run as JSON.
    """

    name: str
    call: Callable[..., object]
    timeout: float | None = None
    bind: bool = False

    def __post_init__(self) -> None:
        """Check what a person chose.

        Raises:
            TaskInvalid: The name, the callable or the timeout is impossible.
        """
        if not isinstance(self.name, str) or _NAME.fullmatch(self.name) is None:
            raise TaskInvalid(f"{self.name!r} cannot name a task: use letters, digits, _ . and -.", field="task")
        if not callable(self.call) or _only_seems_to_run(self.call):
            hint = "Wrap a coroutine in asyncio.run, and go through a generator in the function."
            raise TaskInvalid(f"Task {self.name!r} must be a plain function.", hint=hint, field="task")
        bad = isinstance(self.timeout, bool) or not isinstance(self.timeout, int | float | None)
        if bad or (self.timeout is not None and not (math.isfinite(self.timeout) and self.timeout > 0)):
            raise TaskInvalid(f"The timeout of task {self.name!r} must be seconds above zero.", field="timeout")

    def __call__(self, *args: Any, **kwargs: Any) -> object:
        """Call the function as if it had not been declared."""
        return self.call(*args, **kwargs)

    def named(self, positional: Sequence[Any], args: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments that came without names, under those that the function has for them, and `args` with them.

        Raises:
            TaskInvalid: It has no names for them, or `args` has one of these already.
        """
        if not positional:
            return dict(args)
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        try:
            signature = inspect.signature(self.call)
        except (TypeError, ValueError):
            signature = inspect.Signature()
        known = [one for one in signature.parameters.values() if one.kind in kinds][self.bind :]
        names = [one.name for one in known if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD][: len(positional)]
        if len(names) < len(positional) or known[0].kind is kinds[0] or not args.keys().isdisjoint(names):
            words = f"Task {self.name!r} has no names for all {len(positional)} arguments that came without one."
            raise TaskInvalid(words, hint=f"It takes {_given(signature, self.bind)}.", field="args")
        return {**dict(zip(names, positional, strict=True)), **args}

    def check(self, args: Mapping[str, Any]) -> None:
        """Refuse arguments that the function cannot be called with.

        Raises:
            TaskInvalid: It says which.
        """
        try:
            signature = inspect.signature(self.call)
        except (TypeError, ValueError):
            return
        try:
            signature.bind(*([None] if self.bind else []), **args)
        except TypeError as error:
            hint = f"It takes {_given(signature, self.bind)}."
            raise TaskInvalid(f"Task {self.name!r} cannot be called so: {error}.", hint=hint, field="args") from error


def _given(signature: inspect.Signature, bound: bool) -> str:
    """What a job gives: without the run, which we hand over, and without what the task gives back."""
    return str(signature.replace(
        parameters=list(signature.parameters.values())[bound:], return_annotation=inspect.Signature.empty
    ))  # fmt: skip


def find_task(tasks: Mapping[str, Task], name: str) -> Task:
    """The task of this name.

    Raises:
        TaskNotFound: There is none; says which may have been meant.
    """
    task = tasks.get(name)
    if task is None:
        close = difflib.get_close_matches(name, tasks, n=1)
        known = ", ".join(sorted(tasks)) or "none"
        hint = f"Did you mean {close[0]!r}?" if close else f"Known are {known}; -A module:app brings yours."
        raise TaskNotFound(f"There is no task {name[:300]!r}.", hint=hint, field="task")
    return task


def _only_seems_to_run(call: object) -> bool:
    """Whether a call of it returns at once, with its body still to be run by somebody."""
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    parts = (call, inspect.getattr_static(type(call), "__call__", None))
    return any(is_kind(part) for is_kind in kinds for part in parts)
