"""`Output`: what a run printed and logged, its beginning and its end; `Recorder` takes it down as it comes."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
_HELD = _HALF + 16 * 1024
_PER_LINE = 36
_LINE_BYTES = 5 * 1024
_NAME_CHARS = 100
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


class _Part:
    """What was said at once: printed, with whatever lines there are in it, or logged, and then one line."""

    __slots__ = ("at", "data", "level", "source")

    def __init__(self, at: datetime, source: str, level: str, data: bytes) -> None:
        self.at, self.source, self.level, self.data = at, source, level, bytearray(data)


_Piece = tuple[datetime, str, str, bytes]
"""What a `Line` is made of."""


class Recorder:
    """Takes down what one run says, from any thread, and keeps the beginning and the end of it.

    `hide` are secrets of ours: each stands as `***`, whatever line it is in. While a run speaks, it only holds what
    came, a little more of the beginning and of the end than can be kept; the lines are made when it has ended.
    """

    def __init__(self, clock: Clock, hide: Sequence[str] = ()) -> None:
        self._clock = clock
        self._hide = [secret.encode() for secret in hide if secret]
        self._first: list[_Part] = []
        self._last: deque[_Part] = deque()
        self._first_left = self._last_left = _HELD
        self._open: _Part | None = None
        self._dropped = 0
        self._ended: Output | None = None
        self._lock = threading.Lock()

    def printed(self, source: str, chunk: bytes) -> None:
        """Take what was written next into a stream."""
        with self._lock:
            part = self._open
            # `print` writes a line and its end one after the other.
            if part is not None and part.source == source and len(chunk) < _LINE_BYTES and chunk.find(b"\n", 0, -1) < 0:
                part.data += chunk
                self._spend(len(chunk))
                if chunk.endswith(b"\n"):
                    self._open = None
            elif chunk:
                self._take(source, "", chunk)

    def logged(self, logger: str, level: str, text: str) -> None:
        """Take what was logged. Of a very long text the middle is left out."""
        if len(text) > _LINE_BYTES:
            text = f"{text[: _LINE_BYTES // 2]} ... ({len(text)} characters) ... {text[-_LINE_BYTES // 2 :]}"
        with self._lock:
            self._take(logger[:_NAME_CHARS], level, text.encode(errors="backslashreplace"))

    def end(self) -> Output:
        """What is kept of it; what comes from now on is not taken any more."""
        with self._lock:
            if self._ended is None:
                if self._dropped:
                    self._drop_rests()
                self._ended = _kept(list(self._pieces()), self._dropped)
                self._first, self._last, self._open = [], deque(), None
            return self._ended

    def _take(self, source: str, level: str, data: bytes) -> None:
        if self._ended is not None:
            return
        room = self._first_left
        if room > 0 and not level and len(data) > room:
            self._take(source, level, data[:room])
            data = data[room:]
            room = 0
        part = _Part(self._clock(), source, level, data)
        (self._first if room > 0 else self._last).append(part)
        self._open = part if not level and data[-1:] != b"\n" else None
        self._spend(len(data) + _PER_LINE)

    def _spend(self, size: int) -> None:
        if self._first_left > 0:
            self._first_left -= size
            if self._first_left <= 0:
                self._open = None
            return
        self._last_left -= size
        while self._last_left < 0:
            oldest = self._last[0]
            gone = min(len(oldest.data), -self._last_left)
            del oldest.data[:gone]
            self._dropped += gone
            self._last_left += gone
            if not oldest.data:
                self._last.popleft()
                self._last_left += _PER_LINE

    def _drop_rests(self) -> None:
        """Drop what is left of the lines that were cut, unless it is longer than a line: who knows what was in them."""
        first, last = self._first[-1], self._last[0]
        begun, end = first.data.rfind(b"\n") + 1, len(last.data) if last.level else last.data.find(b"\n") + 1
        if not first.level and len(first.data) - begun < _LINE_BYTES:
            self._dropped += len(first.data) - begun
            del first.data[begun:]
        if end < _LINE_BYTES:
            self._dropped += end
            del last.data[:end]

    def _pieces(self) -> Iterator[_Piece]:
        """What was said, line by line as each was complete; a very long one in pieces."""
        begun: dict[str, tuple[datetime, bytes]] = {}
        for part in (*self._first, *self._last):
            if part.level:
                yield part.at, part.source, part.level, self._hidden(bytes(part.data))
                continue
            at, before = begun.pop(part.source, (part.at, b""))
            *whole, rest = (before + part.data).split(b"\n")
            for line in whole:
                yield from self._printed(at, part.source, line)
                at = part.at
            if rest:
                begun[part.source] = at, rest
        for source, (at, rest) in begun.items():
            yield from self._printed(at, source, rest)

    def _printed(self, at: datetime, source: str, line: bytes) -> Iterator[_Piece]:
        line = self._hidden(line)
        while len(line) > _LINE_BYTES:
            end = _LINE_BYTES
            # No character is cut in two.
            while end > _LINE_BYTES - 4 and line[end] & 0xC0 == 0x80:
                end -= 1
            yield at, source, "", line[:end]
            line = line[end:]
        yield at, source, "", line

    def _hidden(self, line: bytes) -> bytes:
        for secret in self._hide:
            line = line.replace(secret, b"***")
        return line


def _kept(pieces: list[_Piece], dropped: int) -> Output:
    """The beginning and the end of it, each as much as may be kept."""
    head = list(_fitting(pieces))
    tail = list(_fitting(reversed(pieces[len(head) :])))[::-1]
    between = pieces[len(head) : len(pieces) - len(tail)]
    left_out = dropped + sum(len(text) + 1 for _, _, _, text in between)
    return Output(tuple(head), tuple(tail), left_out)


def _fitting(pieces: Iterable[_Piece]) -> Iterator[Line]:
    """Lines of the first pieces, until half of what may be kept is full."""
    left = _HALF
    for at, source, level, data in pieces:
        text = data.decode(errors="backslashreplace")
        # As it is kept: what has to be escaped there is longer than it was.
        left -= len(_as_json(text).encode()) + len(source) + _PER_LINE
        if left < 0:
            return
        yield Line(at, source, text, level)
