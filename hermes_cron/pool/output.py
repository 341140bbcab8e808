"""`Output`: what a child prints and logs, line by line into our log; so much of each run, and no more."""

from __future__ import annotations

import logging

from hermes_cron.logs import one_line

MAX_BYTES = 64 * 1024
"""How much of one run's output is logged. A line counts for more than it holds: each is a line of the log, too."""

_LINE_BYTES = 4000
_PER_LINE = 64
_NAME_CHARS = 100
_log = logging.getLogger("hermes_cron.output")


class Output:
    """The output of one child, run by run."""

    def __init__(self) -> None:
        self._who = "a child"
        self._line = bytearray()
        self._left = MAX_BYTES
        self._left_out = 0

    def begin(self, who: str) -> None:
        """From now on it is this run's."""
        self.end()
        self._who = who

    def end(self) -> None:
        """The run is over: say what was left out."""
        self._tell()
        if self._left_out:
            _log.warning("%s: %d bytes more of its output are left out", self._who, self._left_out)
        self._who, self._left, self._left_out = "a child", MAX_BYTES, 0

    def add(self, chunk: bytes) -> None:
        """Take what was printed next."""
        first, *rest = chunk.split(b"\n")
        self._extend(first)
        for part in rest:
            self._tell()
            self._extend(part)

    def log(self, level: object, name: object, text: object) -> None:
        """Take what was logged: on at its own level, under its own name.

        Raises:
            TypeError: It is no log record.
        """
        if not isinstance(level, int) or not isinstance(name, str) or not isinstance(text, str):
            raise TypeError("a log record is a level, a name and a text")
        if self._spend(len(text)):
            logging.getLogger(one_line(name[:_NAME_CHARS])).log(level, "%s", text)

    def _extend(self, part: bytes) -> None:
        room = _LINE_BYTES - len(self._line)
        self._line += part[:room]
        self._left_out += max(0, len(part) - room)

    def _tell(self) -> None:
        line = bytes(self._line)
        self._line.clear()
        if line.strip() and self._spend(len(line)):
            _log.info("%s: %s", self._who, line.decode(errors="backslashreplace"))

    def _spend(self, size: int) -> bool:
        good = self._left > 0
        if good:
            self._left -= size + _PER_LINE
        else:
            self._left_out += size
        return good
