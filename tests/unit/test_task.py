"""`Task`: what may be declared as one, and how it may be called."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from hermes_cron.errors import TaskInvalid
from hermes_cron.task import Task


def plain(place: str, *, units: str = "m") -> str:
    return f"{place} {units}"


async def coroutine() -> None:
    return


def generator() -> Iterator[int]:
    yield 1


async def stream() -> AsyncIterator[int]:
    yield 1


class Callable:
    def __call__(self, place: str) -> str:
        return place


class AsyncCallable:
    async def __call__(self) -> None:
        return


def test_can_be_called_as_it_is() -> None:
    assert Task("t", plain)("north", units="ft") == "north ft"


@pytest.mark.parametrize("name", ["t", "app.tide", "_t", "a-b.c_d", "A9", "x" * 255])
def test_takes_these_names(name: str) -> None:
    assert Task(name, plain).name == name


@pytest.mark.parametrize("name", ["", " ", "9a", ".a", "-a", "a b", "a/b", "é", "a\n", "x" * 256, None, 3, b"t"])
def test_refuses_these_names(name: Any) -> None:
    with pytest.raises(TaskInvalid, match="cannot name a task") as told:
        Task(name, plain)
    assert told.value.field == "task"


@pytest.mark.parametrize("call", [plain, functools.partial(plain, units="ft"), Callable(), Callable, print, len])
def test_takes_whatever_can_be_called(call: Any) -> None:
    assert Task("t", call).call is call


@pytest.mark.parametrize(
    "call",
    [None, 3, "plain", coroutine, functools.partial(coroutine), AsyncCallable(), generator, stream,
     functools.partial(generator)],
)  # fmt: skip
def test_refuses_what_would_only_seem_to_run(call: Any) -> None:
    with pytest.raises(TaskInvalid, match="must be a plain function"):
        Task("t", call)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "3", [1]])
def test_refuses_these_timeouts(timeout: Any) -> None:
    with pytest.raises(TaskInvalid) as told:
        Task("t", plain, timeout)
    assert told.value.field == "timeout"


def test_takes_a_timeout() -> None:
    assert (Task("t", plain, 1).timeout, Task("t", plain, 0.5).timeout, Task("t", plain).timeout) == (1, 0.5, None)


@pytest.mark.parametrize("args", [{"place": "north"}, {"place": "north", "units": "ft"}])
def test_takes_arguments_that_fit(args: dict[str, Any]) -> None:
    Task("t", plain).check(args)


@pytest.mark.parametrize(("bind", "named"), [(False, {"place": 1, "units": 2}), (True, {"units": 1})])
def test_gives_arguments_without_names_theirs(bind: bool, named: dict[str, Any]) -> None:
    def both(place: str, units: str = "m") -> None: ...

    assert Task("t", both, bind=bind).named(list(named.values()), {}) == named
    assert Task("t", both).named([1], {"units": 3}) == {"place": 1, "units": 3}
    assert Task("t", plain).named([], {"more": 1}) == {"more": 1}


@pytest.mark.parametrize(
    ("call", "positional", "args"),
    [
        (plain, [1, 2, 3], {}), (plain, [1], {"place": 1}), (lambda *all: None, [1], {}), (dict, [1], {}),
        (lambda one, /, two: None, [1, 2], {}), (lambda one, /, two: None, [1], {}),
    ],
)  # fmt: skip
def test_refuses_arguments_without_names_that_it_has_none_for(call: Any, positional: list[Any], args: Any) -> None:
    with pytest.raises(TaskInvalid, match="no names for all"):
        Task("t", call).named(positional, args)


@pytest.mark.parametrize("args", [{}, {"place": 1, "more": 2}, {"units": "m"}, {"Place": 1}])
def test_refuses_arguments_that_do_not_and_says_what_it_takes(args: dict[str, Any]) -> None:
    with pytest.raises(TaskInvalid, match=r"It takes \(place") as told:
        Task("t", plain).check(args)
    assert told.value.field == "args"


def test_a_bound_task_takes_its_run_first() -> None:
    Task("t", plain, bind=True).check({})
    with pytest.raises(TaskInvalid):
        Task("t", plain, bind=True).check({"place": "north"})


def test_what_a_bound_task_takes_is_told_without_the_run() -> None:
    def send(run: object, url: str) -> int: ...

    with pytest.raises(TaskInvalid) as told:
        Task("t", send, bind=True).check({})
    assert told.value.hint in ("It takes (url: 'str').", "It takes (url: str).")


def test_cannot_check_what_has_no_signature() -> None:
    Task("t", dict).check({"anything": 1})
