"""`Output`: what a run printed and logged, its beginning and its end; `Recorder` takes it down as it comes."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hermes_cron.clock import Clock, from_micros, to_micros

MAX_BYTES = 64 * 1024
"""How much of a run's output is kept: the first half of it, and the last. A line counts for more than it holds."""

KEPT_PER_JOB = 20
KEPT_IN_ALL = 5000
"""Of how many runs a store keeps the output, the newest ones: of each job, and of all jobs together."""

STDOUT, STDERR = "stdout", "stderr"

_HALF = MAX_BYTES // 2
_PER_LINE = 36
_NAME_CHARS = 100
_LINE_BYTES = 8 * 1024
_MOST_LINES = _HALF // _PER_LINE
_as_json = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Line:
    """One line: since when, out of which stream (`stdout`, `stderr`) or from which logger, and what it says.

    `level` is empty for what was printed. What was logged may itself have several lines.
    """

    at: datetime
    source: str
    text: str
    level: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """What a run said: `head`, then `left_out` bytes of which nothing is kept, then `tail`."""

    head: tuple[Line, ...] = ()
    tail: tuple[Line, ...] = ()
    left_out: int = 0

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines that are kept."""
        return self.head + self.tail

    def to_text(self) -> str:
        """It as a store keeps it."""
        shape = {"v": 1, "head": _shape(self.head), "tail": _shape(self.tail), "left_out": self.left_out}
        return json.dumps(shape, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> Output:
        """It again.

        Raises:
            ValueError: The text was damaged, or was written by a newer version.
        """
        try:
            shape = json.loads(text)
            if shape["v"] != 1:
                raise ValueError("it is of another version")
            return cls(_lines(shape["head"]), _lines(shape["tail"]), int(shape["left_out"]))
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"it is no output: {error!r}") from error


def _shape(lines: Sequence[Line]) -> list[list[int | str]]:
    return [[to_micros(line.at), line.source, line.level, line.text] for line in lines]


def _lines(shape: Sequence[Any]) -> tuple[Line, ...]:
    return tuple(Line(from_micros(at), str(source), str(text), str(level)) for at, source, level, text in shape)


_Said = tuple[datetime, str, str, str]
"""What a `Line` is made of; making one takes longer than taking it down."""


@dataclass(slots=True)
class _Pending:
    """A line that has begun, and has not ended."""

    at: datetime
    text: bytearray = field(default_factory=bytearray)


class Recorder:
    """Takes down what one run says, from any thread, and keeps the beginning and the end of it.

    `hide` are secrets of ours: each stands as `***`, whatever line it is in.
    """

    def __init__(self, clock: Clock, hide: Sequence[str] = ()) -> None:
        self._clock = clock
        self._hide = [secret for secret in hide if secret]
        self._pending: dict[str, _Pending] = {}
        self._head: list[_Said] = []
        self._tail: deque[tuple[_Said, int]] = deque()
        self._head_left = self._tail_left = _HALF
        self._left_out = 0
        self._over = False
        self._lock = threading.Lock()

    def printed(self, source: str, chunk: bytes) -> None:
        """Take what was written next into a stream."""
        with self._lock:
            if self._over or not chunk:
                return
            pending = self._pending.get(source)
            if pending is None:
                pending = self._pending[source] = _Pending(self._clock())
            pending.text += chunk
            if b"\n" in chunk or len(pending.text) > _LINE_BYTES:
                self._take_lines(source, pending)

    def logged(self, logger: str, level: str, text: str) -> None:
        """Take what was logged. Of a very long text the middle is left out."""
        text = text.encode(errors="backslashreplace").decode()
        if len(text) > _LINE_BYTES:
            text = f"{text[: _LINE_BYTES // 2]} ... ({len(text)} characters) ... {text[-_LINE_BYTES // 2 :]}"
        with self._lock:
            if not self._over:
                self._add(self._clock(), logger[:_NAME_CHARS], text, level)

    def end(self) -> Output:
        """What is kept of it; what comes from now on is not taken any more."""
        with self._lock:
            for source, pending in self._pending.items():
                self._add(pending.at, source, _text(pending.text))
            self._pending.clear()
            self._over = True
            head, tail = (Line(*said) for said in self._head), (Line(*said) for said, _ in self._tail)
            return Output(tuple(head), tuple(tail), self._left_out)

    def _take_lines(self, source: str, pending: _Pending) -> None:
        *whole, rest = pending.text.split(b"\n")
        if not self._head_left and len(whole) > _MOST_LINES:
            # Of a flood of short lines none stays but the last so many.
            self._left_out += sum(map(len, whole[:-_MOST_LINES]))
            del whole[:-_MOST_LINES]
        at = pending.at
        for line in whole:
            for piece in _pieces(line):
                self._add(at, source, _text(piece))
            at = self._clock()
        *pieces, rest = _pieces(rest)
        for piece in pieces:
            self._add(at, source, _text(piece))
        if rest:
            pending.at, pending.text = at, rest
        else:
            del self._pending[source]

    def _add(self, at: datetime, source: str, text: str, level: str = "") -> None:
        for secret in self._hide:
            text = text.replace(secret, "***")
        size = _size(source, text)
        while size > _HALF:
            kept = text[: len(text) // 2]
            self._left_out += len(text[len(kept) :].encode())
            text, size = kept, _size(source, kept)
        if size <= self._head_left:
            self._head_left -= size
            self._head.append((at, source, text, level))
            return
        self._head_left = 0
        self._tail.append(((at, source, text, level), size))
        self._tail_left -= size
        while self._tail_left < 0:
            (_, _, gone, _), size = self._tail.popleft()
            self._tail_left += size
            self._left_out += len(gone.encode())


def _size(source: str, text: str) -> int:
    # As it is kept: what has to be escaped there is longer than it was.
    return len(_as_json(text).encode()) + len(source) + _PER_LINE


def _pieces(line: bytearray) -> Iterator[bytearray]:
    """A line in pieces that are not too long, no character cut in two."""
    while len(line) > _LINE_BYTES:
        cut = next((at for at in range(_LINE_BYTES, _LINE_BYTES - 4, -1) if line[at] & 0xC0 != 0x80), _LINE_BYTES)
        yield line[:cut]
        line = line[cut:]
    yield line


def _text(line: bytearray) -> str:
    return line.decode(errors="backslashreplace")
