"""Have taken down what bodies print and log in this process, each for its own run, while all of it goes where it went.

Which run somebody speaks for, a context variable tells. It follows a body into `asyncio.run` and `asyncio.to_thread`,
and not into threads that it starts by itself: what these say goes where it went, and is taken down for nobody. Nor is
what is written to the descriptors 1 and 2, by a library in C or by a process that a body starts.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, BinaryIO, TextIO, cast

from hermes_cron.clock import Clock
from hermes_cron.logs import text_of
from hermes_cron.output import STDERR, STDOUT, Recorder
from hermes_cron.run import Run, StopSign

Execute = Callable[[Run, StopSign], Run]

_RECORDER: ContextVar[Recorder | None] = ContextVar("hermes_cron_recorder", default=None)


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Whoever speaks in this context speaks to this recorder."""
    token = _RECORDER.set(recorder)
    try:
        yield
    finally:
        _RECORDER.reset(token)


def recorded(execute: Execute, clock: Clock, hide: Sequence[str] = ()) -> Execute:
    """The same, and the run that it returns has its output; `hide` are secrets that are not to stand in it."""

    def execute_and_record(run: Run, sign: StopSign) -> Run:
        recorder = Recorder(clock, hide)
        with recording(recorder):
            ended = execute(run, sign)
        return replace(ended, output=recorder.end())

    return execute_and_record


def command_said(source: str, chunk: bytes) -> None:
    """Take down what a command said that the body of this context has started: it is shown nowhere else."""
    recorder = _RECORDER.get()
    if recorder is not None:
        recorder.printed(source, chunk)


class Capture:
    """Listens to what is printed and logged in this process from `start` to `stop`, and to no run's alone."""

    def __init__(self) -> None:
        self._listener = _Listener()
        self._streams: tuple[tuple[str, Stream], ...] = ()

    def start(self) -> None:
        """Begin to listen: `sys.stdout`, `sys.stderr` and the root logger are listened to from now on."""
        logging.getLogger().addHandler(self._listener)
        found = [(name, getattr(sys, name)) for name in (STDOUT, STDERR)]
        self._streams = tuple((name, Stream(stream, name)) for name, stream in found if stream is not None)
        for name, stream in self._streams:
            setattr(sys, name, stream)

    def stop(self) -> None:
        """Listen no more. A stream that somebody else put in the place of ours stays."""
        logging.getLogger().removeHandler(self._listener)
        for name, stream in self._streams:
            if getattr(sys, name) is stream:
                setattr(sys, name, stream.origin)
        self._streams = ()


class Stream:
    """A text stream in the place of `origin`, to which it passes everything on; otherwise it is that one."""

    def __init__(self, origin: TextIO, source: str) -> None:
        self.origin = origin
        self._source = source

    def write(self, text: str) -> int:
        """Write it, and have it taken down if a run says it."""
        written = self.origin.write(text)
        recorder = _RECORDER.get()
        if recorder is not None:
            recorder.printed(self._source, text.encode(errors="backslashreplace"))
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write them, one after another."""
        for line in lines:
            self.write(line)

    @property
    def buffer(self) -> BinaryIO:
        """The stream of bytes below, listened to in the same way."""
        return cast("BinaryIO", _Bytes(self.origin.buffer, self._source))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.origin, name)


class _Bytes:
    """The stream of bytes below a text stream."""

    def __init__(self, origin: BinaryIO, source: str) -> None:
        self._origin = origin
        self._source = source

    def write(self, data: bytes) -> int:
        written = self._origin.write(data)
        recorder = _RECORDER.get()
        if recorder is not None:
            recorder.printed(self._source, bytes(data))
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._origin, name)


class _Listener(logging.Handler):
    """Takes down what is logged in a run."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Ahead of the handler's lock: outside of runs nobody waits for it.
        return _RECORDER.get() is not None and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        recorder = _RECORDER.get()
        if recorder is not None:
            recorder.logged(record.name, record.levelname.lower(), text_of(record))
