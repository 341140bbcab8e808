"""The agent's access token at NAS: a given text, a file, or what a command prints. Asked for per call, never logged."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol, cast

from hermes_cron.clock import monotonic
from hermes_cron.errors import NasError
from hermes_cron.privacy import fault
from hermes_cron.settings import ChronosSettings, Secret

KEPT_S = 60.0
"""Seconds for which what a command printed is used again, unless NAS refuses it."""

_MAX_BYTES = 64 * 1024


class TokenSource(Protocol):
    """Where the token comes from."""

    def configured(self) -> bool:
        """Whether it can be expected to give a token; opens no connection and runs nothing."""

    def read(self, seconds: float) -> str:
        """The token, within so many seconds.

        Raises:
            NasError: There is none to be had.
        """

    def again(self, seconds: float) -> str:
        """The token read anew, because NAS refused the last one; raises like `read`."""

    def stamp(self) -> object:
        """Something that differs once the credential was changed from outside."""


def token_source(settings: ChronosSettings) -> TokenSource:
    """The source that is configured: the text before the file before the command."""
    if settings.access_token:
        return StaticToken(settings.access_token)
    if settings.access_token_file:
        return FileToken(Path(settings.access_token_file).expanduser())
    return CommandToken(settings.access_token_command)


class StaticToken:
    """A token that stands in the configuration."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def configured(self) -> bool:
        """Whether there is one."""
        return bool(self._token)

    def read(self, seconds: float) -> str:
        """The token."""
        return _checked(self._token.reveal(), "cron.chronos.access_token")

    def again(self, seconds: float) -> str:
        """The same."""
        return self.read(seconds)

    def stamp(self) -> object:
        """It never changes while this process lives."""
        return None


class FileToken:
    """A token in a file that somebody else may renew: read again when the file changes, and when NAS refuses it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: tuple[object, str] | None = None

    def configured(self) -> bool:
        """Whether the file is there and not empty."""
        try:
            return self._path.stat().st_size > 0
        except OSError:
            return False

    def read(self, seconds: float) -> str:
        """The file's token."""
        stamp, kept = self.stamp(), self._kept
        if kept is not None and stamp is not None and kept[0] == stamp:
            return kept[1]
        return self.again(seconds)

    def again(self, seconds: float) -> str:
        """The file's token, read from the disk."""
        stamp = self.stamp()
        try:
            unsafe = fault(self._path)
            if unsafe:
                raise NasError(f"The access token's file is not believed: {unsafe}.")
            with self._path.open("rb") as file:
                content = file.read(_MAX_BYTES)
        except OSError as error:
            raise NasError(f"The access token's file {self._path} cannot be read: {error.strerror}.") from error
        token = _checked(content.decode(errors="replace"), f"the file {self._path}")
        self._kept = (stamp, token)
        return token

    def stamp(self) -> object:
        """When and how the file was last written; None while it is not there."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino)


class CommandToken:
    """A token that a command prints; it runs without a shell, at most once a minute, and when NAS refuses the last."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._kept: tuple[float, str] | None = None
        self._last = ""

    def configured(self) -> bool:
        """Whether there is a command, and its program exists."""
        try:
            words = shlex.split(self._command)
        except ValueError:
            return False
        return bool(words) and shutil.which(words[0]) is not None

    def read(self, seconds: float) -> str:
        """What the command printed less than a minute ago, or prints now."""
        with self._turn(seconds) as left:
            if self._kept is not None and monotonic() - self._kept[0] < KEPT_S:
                return self._kept[1]
            return self._ask(left)

    def again(self, seconds: float) -> str:
        """What the command prints now."""
        with self._turn(seconds) as left:
            return self._ask(left)

    def stamp(self) -> object:
        """What it printed last; whether it would print something else is not known without asking."""
        return self._last

    @contextmanager
    def _turn(self, seconds: float) -> Iterator[float]:
        """The turn to ask, and what is then left of the time."""
        until = monotonic() + seconds
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            raise NasError("cron.chronos.access_token_command printed no token in time.")
        try:
            yield until - monotonic()
        finally:
            self._lock.release()

    def _ask(self, seconds: float) -> str:
        self._kept = None
        token = _checked(_printed(self._command, seconds), "cron.chronos.access_token_command")
        self._kept = (monotonic(), token)
        self._last = token
        return token


def _printed(command: str, seconds: float) -> str:
    # Its errors are thrown away: they may quote what must not be logged.
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own command, without a shell.
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise NasError(f"cron.chronos.access_token_command cannot be run: {type(error).__name__}.") from error
    with process:
        try:
            printed = _read(process, monotonic() + seconds)
        except BaseException:
            # Its whole group is ended: a child of its own would hold the pipe open, and us with it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode != 0:
        raise NasError(f"cron.chronos.access_token_command ended with exit code {process.returncode}.")
    return printed.decode(errors="replace")


def _read(process: subprocess.Popen[bytes], until: float) -> bytes:
    """All that a process prints until it ends."""
    output = cast("IO[bytes]", process.stdout).fileno()
    printed, poll = b"", select.poll()
    poll.register(output)
    while True:
        if not poll.poll(max(0.0, until - monotonic()) * 1000):
            raise NasError("cron.chronos.access_token_command printed no token in time.")
        more = os.read(output, _MAX_BYTES)
        printed += more
        if len(printed) > _MAX_BYTES:
            raise NasError("cron.chronos.access_token_command prints more than a token.")
        if not more:
            break
    try:
        process.wait(max(0.0, until - monotonic()))
    except subprocess.TimeoutExpired as error:
        raise NasError("cron.chronos.access_token_command printed a token, and did not end in time.") from error
    return printed


def _checked(text: str, where: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or any(not 32 < ord(char) < 127 for char in token):
        raise NasError(f"The access token in {where} is empty, or not one line of plain text.")
    return token
