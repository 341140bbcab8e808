"""What a worker and its children say to each other comes out as it went in."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta

import pytest

from hermes_cron.handover import (
    Lines,
    Load,
    as_ended,
    ended_message,
    line,
    load_message,
    read_load,
    read_run,
    run_message,
)
from hermes_cron.run import Run, RunState
from hermes_cron.settings import HttpSettings, PromptSettings, ShellSettings, TaskSettings
from tests.unit.parts import LEASE, NOON

FULL = Run(
    "a:1", "a", "k", NOON, 2, 7, "t", {"é": ["\n", None, {"x": 1.5}]}, RunState.STARTED, 2.5, "host:1", NOON,
    NOON + timedelta(microseconds=1), None, NOON + LEASE, NOON + LEASE, "by Ann", "e", "r", True, NOON,
)  # fmt: skip


@pytest.mark.parametrize("run", [FULL, Run("a:1", "a", "k", NOON, 1, 1, "t", {})])
def test_a_run_comes_out_as_it_went_in(run: Run) -> None:
    (message,) = Lines().add(line(run_message(run)))
    got = read_run(message)
    assert got == run
    for field in fields(Run):
        assert type(getattr(got, field.name)) is type(getattr(run, field.name)), field.name


def test_an_end_comes_out_as_it_went_in() -> None:
    ended = replace(FULL, state=RunState.FAILED, error="é\\", result='"x\\n"', deadline=None)
    (message,) = Lines().add(line(ended_message(ended)))
    assert as_ended(FULL, message) == ended


def test_what_to_load_comes_out_as_it_went_in() -> None:
    load = Load(
        "a:b", TaskSettings(ShellSettings(True), HttpSettings(True), PromptSettings("http://x", "/f")), 10
    )  # fmt: skip
    (message,) = Lines().add(line(load_message(load)))
    assert read_load(message) == load


def test_messages_are_put_together_from_any_pieces() -> None:
    sent = line({"a": "x\ny"}) + line({"b": 1})
    for size in (1, 3, 100):
        lines = Lines()
        chunks = [sent[at : at + size] for at in range(0, len(sent), size)]
        assert [m for chunk in chunks for m in lines.add(chunk)] == [{"a": "x\ny"}, {"b": 1}]


@pytest.mark.parametrize("chunk", [b"no\n", b"[1]\n", b"\xff\n", b"x" * 11])
def test_what_is_no_message_is_refused(chunk: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|object|decode|long"):
        list(Lines(10).add(chunk))


@pytest.mark.parametrize(
    "end",
    [
        {"id": "a:2"},
        {"state": "started"},
        {"state": "?"},
        {"error": None},
        {"result": {}},
        {"deadline": 1},
        {"deadline": "soon"},
    ],
)
def test_what_is_no_end_of_a_run_is_refused(end: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        as_ended(FULL, {**ended_message(replace(FULL, state=RunState.SUCCEEDED)), **end})
