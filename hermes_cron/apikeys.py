"""API keys: a file of names, scopes and hashes. The keys themselves are kept nowhere."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hermes_cron.errors import ConfigError
from hermes_cron.privacy import make_folder

READ, WRITE = "read", "write"
SCOPES = (READ, WRITE)
FIELD = "web.api_keys_file"
_PREFIX = "hck_"
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_MOST_BYTES = 1024 * 1024

_log = logging.getLogger("hermes_cron.apikeys")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who holds a key, and what it opens; who may write may also read."""

    name: str
    scopes: frozenset[str]
    digest: str

    def opens(self, scope: str) -> bool:
        """Whether it is good for this."""
        return scope in self.scopes or (scope == READ and WRITE in self.scopes)


def digest_of(key: str) -> str:
    """What is kept of a key. A plain hash will do: a key is 256 drawn bits, which nobody tries out."""
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(file: Path) -> tuple[ApiKey, ...]:
    """The keys of a file of lines `name scope[,scope] sha256:<hex>`; `#` begins a comment.

    Raises:
        ConfigError: It cannot be read, others may write to it, or one of its lines is none of these.
    """
    try:
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):
            # Before its mode is looked at: to change that of a folder, or of a device, would be bad advice.
            hint = "Let web.api_keys_file name a file; `hermes-cron keys new NAME --scope read` makes it."
            raise ConfigError(f"{file}, which is to have the API keys, is no ordinary file.", hint=hint, field=FIELD)
        if mode & 0o022:
            hint = f"Run `chmod 600 {file}`."
            raise ConfigError(f"Others may write to the API keys in {file}.", hint=hint, field=FIELD)
        with file.open("rb") as opened:
            text = opened.read(_MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        hint = "`hermes-cron keys new NAME --scope read` makes it."
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"The API keys in {file} cannot be read: {reason}.", hint=hint, field=FIELD) from error
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    return tuple(_key(words, file, number) for number, words in enumerate(lines, 1) if words)


def add_key(file: Path, name: str, scopes: Iterable[str]) -> str:
    """Draw a key, append its hash to the file (made 0600 where it is new), and return the key: it is kept nowhere.

    Raises:
        ConfigError: The file cannot be read or written, or has a key of this name.
    """
    if _NAME.fullmatch(name) is None:
        hint = "Use 1 to 64 of A-Z a-z 0-9 . _ @ -."
        raise ConfigError(f"{name!r} cannot be the name of a key.", hint=hint, field="name")
    if file.exists() and any(key.name == name for key in read_keys(file)):
        hint = "Take its line out first, or choose another name."
        raise ConfigError(f"There is a key {name!r} in {file} already.", hint=hint, field="name")
    key = _PREFIX + secrets.token_urlsafe(32)
    try:
        make_folder(file.parent)
        fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(fd, "ab") as opened:
            # One write to a file opened for appending: two commands at once leave two whole lines.
            opened.write(f"{name} {','.join(scopes)} {digest_of(key)}\n".encode())
    except OSError as error:
        hint = "Its folder must exist and be writable for this user."
        raise ConfigError(
            f"The API keys in {file} cannot be written: {error.strerror}.", hint=hint, field=FIELD
        ) from error
    return key


class KeyRing:
    """The keys of a file, read again when the file changes, so that a line taken out is a key withdrawn.

    Raises:
        ConfigError: The file cannot be used.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._keys: Sequence[ApiKey] = read_keys(file)

    def find(self, presented: str) -> ApiKey | None:
        """The key that this is; every kept hash is compared, each in constant time."""
        digest, found = digest_of(presented), None
        for key in self._current():
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _current(self) -> Sequence[ApiKey]:
        with self._lock:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                try:
                    self._keys = read_keys(self._file)
                except ConfigError as error:
                    # Fail closed: a file that cannot be read lets nobody in.
                    _log.error("no API key is good for now: %s", error)
                    self._keys = ()
            return self._keys

    def _stamp(self) -> tuple[int, int, int, int] | None:
        try:
            seen = self._file.stat()
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_size, seen.st_ino, seen.st_mode


def _key(words: Sequence[str], file: Path, number: int) -> ApiKey:
    hint = "A line is `name scope[,scope] sha256:<hex>`, with the scopes read and write."
    if len(words) != 3:
        raise ConfigError(f"{file}, line {number} is no API key.", hint=hint, field=FIELD)
    name, scopes, digest = words[0], frozenset(words[1].split(",")), words[2].lower()
    if _NAME.fullmatch(name) is None or not scopes <= set(SCOPES) or _DIGEST.fullmatch(digest) is None:
        raise ConfigError(f"{file}, line {number} is no API key.", hint=hint, field=FIELD)
    return ApiKey(name, scopes, digest)
