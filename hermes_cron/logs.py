"""Logging: one event per line, for people on a terminal, as JSON otherwise; control characters never get through."""

from __future__ import annotations

import json
import logging
import os
import sys
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from hermes_cron.clock import instant_text
from hermes_cron.errors import ConfigError

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("human", "json")
_MOST = 4000
_QUIET = ("kombu", "amqp", "urllib3", "asyncio")
# They write whole URLs and the headers of answers: there may be secrets in both, at whatever level we log.
_SILENT = ("httpx", "httpcore")


def set_up_logging(
    level: str = "", form: str = "", *, environ: Mapping[str, str] = os.environ, stream: TextIO | None = None
) -> None:
    """Send the log to stderr at this level (else HERMES_CRON_LOG_LEVEL, else info).

    Raises:
        ConfigError: There is no such level or format.
    """
    stream = stream or sys.stderr
    level = (level or environ.get("HERMES_CRON_LOG_LEVEL", "") or "info").lower()
    form = (form or environ.get("HERMES_CRON_LOG_FORMAT", "") or ("human" if stream.isatty() else "json")).lower()
    if level not in LEVELS:
        raise ConfigError(f"There is no log level {level!r}; there are {', '.join(LEVELS)}.", field="log_level")
    if form not in FORMATS:
        raise ConfigError(f"There is no log format {form!r}; there are {', '.join(FORMATS)}.", field="log_format")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Human() if form == "human" else Json())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else logging.WARNING)


def one_line(text: str) -> str:
    """The text on one line, with control, format and bidirectional characters written out.

    Of more than 4000 characters the middle is left out: a traceback says at its end what happened.
    """
    if len(text) > _MOST:
        text = f"{text[: _MOST // 2]} ... ({len(text)} characters) ... {text[-_MOST // 2 :]}"
    return harmless(text)


def harmless(text: str) -> str:
    """The text on one line like `one_line`, however long it is."""
    return text if text.isascii() and text.isprintable() else "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    if char == " " or unicodedata.category(char)[0] not in "CZ":
        return char
    if char == "\n":
        return " | "
    return char.encode("unicode_escape").decode()


class Human(logging.Formatter):
    """`12:00:00 INFO  worker: run tide:3 succeeded`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        at = datetime.fromtimestamp(record.created, UTC)
        name = record.name.removeprefix("hermes_cron.")
        return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d} {record.levelname:<7} {name}: {_message(record)}"


class Json(logging.Formatter):
    """One JSON object a line: `at`, `level`, `logger`, `pid`, `message`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        event = {
            "at": instant_text(datetime.fromtimestamp(record.created, UTC)), "level": record.levelname.lower(),
            "logger": record.name, "pid": record.process, "message": _message(record),
        }  # fmt: skip
        return json.dumps(event, ensure_ascii=True)


def text_of(record: logging.LogRecord) -> str:
    """What a record says, the traceback of its exception included; in as many lines as it has."""
    try:
        text = record.getMessage()
    except Exception as error:  # noqa: BLE001 - a plugin's mistake in its log call is one line, too.
        words = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        text = f"{words} (which cannot be filled in: {type(error).__name__})"
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


def _message(record: logging.LogRecord) -> str:
    return one_line(text_of(record))
