"""`ChildOutput`: what a child prints and logs goes into our log, so much of each run, and into the run's output."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from hermes_cron.clock import utc_now
from hermes_cron.logs import one_line
from hermes_cron.output import STDERR, STDOUT, Output, Recorder

MAX_BYTES = 64 * 1024
"""How much of one run's output is logged. A line counts for more than it holds: each is a line of the log, too."""

_LINE_BYTES = 4000
_PER_LINE = 64
_NAME_CHARS = 100
_log = logging.getLogger("hermes_cron.output")


class ChildOutput:
    """The output of one child, run by run; `hide` are secrets that are not to stand in a run's output."""

    def __init__(self, hide: Sequence[str] = ()) -> None:
        self._hide = hide
        self._who = "a child"
        self._lines = {STDOUT: bytearray(), STDERR: bytearray()}
        self._left = MAX_BYTES
        self._left_out = 0
        self._recorder: Recorder | None = None

    def begin(self, who: str) -> None:
        """From now on it is this run's."""
        self.end()
        self._who = who
        self._recorder = Recorder(utc_now, self._hide)

    def end(self) -> Output:
        """The run is over: what it said, as far as that is kept. What the log lacks of it is told there."""
        for line in self._lines.values():
            self._tell(line)
        if self._left_out:
            _log.warning("%s: %d bytes more of its output are left out", self._who, self._left_out)
        recorder, self._recorder = self._recorder, None
        self._who, self._left, self._left_out = "a child", MAX_BYTES, 0
        return Output() if recorder is None else recorder.end()

    def stdout(self, chunk: bytes) -> None:
        """Take what was printed next."""
        self._add(STDOUT, chunk)

    def stderr(self, chunk: bytes) -> None:
        """Take what was printed next as an error."""
        self._add(STDERR, chunk)

    def said(self, source: object, data: object) -> None:
        """Take what a command said that the body started: it is the run's, and not for the log.

        Raises:
            TypeError, ValueError: It is nothing that a command said.
        """
        if source not in (STDOUT, STDERR) or not isinstance(data, str):
            raise TypeError("what a command said is a stream and its bytes")
        if self._recorder is not None:
            self._recorder.printed(str(source), data.encode("latin-1"))

    def log(self, level: object, name: object, text: object) -> None:
        """Take what was logged: on at its own level, under its own name.

        Raises:
            TypeError: It is no log record.
        """
        if not isinstance(level, int) or not isinstance(name, str) or not isinstance(text, str):
            raise TypeError("a log record is a level, a name and a text")
        name = one_line(name[:_NAME_CHARS])
        if self._recorder is not None:
            self._recorder.logged(name, logging.getLevelName(level).lower(), text)
        if self._spend(len(text)):
            logging.getLogger(name).log(level, "%s", text)

    def _add(self, source: str, chunk: bytes) -> None:
        if self._recorder is not None:
            self._recorder.printed(source, chunk)
        line = self._lines[source]
        first, *rest = chunk.split(b"\n")
        self._extend(line, first)
        for part in rest:
            self._tell(line)
            self._extend(line, part)

    def _extend(self, line: bytearray, part: bytes) -> None:
        room = _LINE_BYTES - len(line)
        line += part[:room]
        self._left_out += max(0, len(part) - room)

    def _tell(self, line: bytearray) -> None:
        said = bytes(line)
        line.clear()
        if said.strip() and self._spend(len(said)):
            _log.info("%s: %s", self._who, said.decode(errors="backslashreplace"))

    def _spend(self, size: int) -> bool:
        good = self._left > 0
        if good:
            self._left -= size + _PER_LINE
        else:
            self._left_out += size
        return good
