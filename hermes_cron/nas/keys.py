"""Signing keys: one file that only its owner can read, and a rotation in which the next key is published first.

What a key does follows from its times alone, so that a rotation needs no second command:

    next      published, signs from `signs_at` on (without one: when somebody rotates)
    active    published, signs: of the keys whose `signs_at` has come, the latest
    retired   published until `gone_at`, signs no more

A running server reads the file again when it changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from hermes_cron.clock import Clock, instant_text, read_instant
from hermes_cron.errors import ConfigError, StoreError
from hermes_cron.nas.database import hold

FILE = "keys.json"
OVERLAP_S = 600.0
"""How long the next key is published before it signs: longer than an agent uses a key set without looking again."""

TURN_S = 3.0
"""Seconds to wait for another command that changes the keys."""

KEEP_S = 24 * 3600.0
"""How long a retired key stays published; the tokens it signed live for minutes."""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
MAKERS: Mapping[str, Callable[[], PrivateKey]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RS256": lambda: rsa.generate_private_key(65537, 3072),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_THUMB = ("crv", "e", "kty", "n", "x", "y")


@dataclass(frozen=True, slots=True)
class Key:
    """One signing key; its times decide what it does."""

    kid: str
    alg: str
    private_pem: str
    made_at: datetime
    signs_at: datetime | None = None
    gone_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Key({self.kid}, {self.alg})"


def active(keys: Sequence[Key], now: datetime) -> Key | None:
    """The key that signs now."""
    ready = [
        (key.signs_at, place) for place, key in enumerate(keys) if key.signs_at is not None and key.signs_at <= now
    ]
    return keys[max(ready)[1]] if ready else None


def state_of(key: Key, keys: Sequence[Key], now: datetime) -> str:
    """`next`, `active` or `retired`."""
    if key == active(keys, now):
        return "active"
    return "next" if key.signs_at is None or key.signs_at > now else "retired"


def rotated(keys: Sequence[Key], now: datetime, chosen: Key, *, overlap: float, keep: float) -> list[Key]:
    """The keys after a rotation to `chosen`, one of them or a new one; whoever signed before is retired."""
    signs_at = max(now, chosen.made_at + timedelta(seconds=overlap))
    if active(keys, now) is None:
        signs_at = now
    gone_at = signs_at + timedelta(seconds=keep)
    old = [replace(key, gone_at=min(key.gone_at or gone_at, gone_at)) for key in keys if key.kid != chosen.kid]
    # One that waited through an earlier rotation was to go then; what signs must be published.
    return [*(key for key in old if not _gone(key, now)), replace(chosen, signs_at=signs_at, gone_at=None)]


def _gone(key: Key, now: datetime) -> bool:
    return key.gone_at is not None and key.gone_at <= now


def make_key(alg: str, now: datetime) -> Key:
    """A new key, whose id is its thumbprint (RFC 7638).

    Raises:
        ConfigError: NAS signs with no such algorithm.
    """
    if alg not in MAKERS:
        raise ConfigError(f"NAS cannot sign with {alg}.", hint=f"Choose one of {', '.join(MAKERS)}.", field="alg")
    private = MAKERS[alg]()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    members = {name: value for name, value in _public(alg, private).items() if name in _THUMB}
    digest = hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest()
    return Key(urlsafe_b64encode(digest).rstrip(b"=").decode(), alg, pem.decode(), now)


def _public(alg: str, private: Any) -> dict[str, Any]:
    public: dict[str, Any] = get_default_algorithms()[alg].to_jwk(private.public_key(), as_dict=True)
    return {name: value for name, value in public.items() if name in _THUMB}


class Signer:
    """One key at work: it signs, and shows its public half."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._private: Any = serialization.load_pem_private_key(key.private_pem.encode(), None)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A token with these claims."""
        return jwt.encode(dict(claims), self._private, algorithm=self._key.alg, headers={"kid": self._key.kid})

    def published(self) -> dict[str, Any]:
        """Its public half (RFC 7517)."""
        key = self._key
        return {**_public(key.alg, self._private), "kid": key.kid, "alg": key.alg, "use": "sig"}


class KeyRing:
    """The keys in a folder's file. May be used from any thread."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self._path = home / FILE
        self._clock = clock
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._keys: list[Key] = []
        self._signers: dict[str, Signer] = {}

    def listed(self) -> Sequence[tuple[Key, str]]:
        """The published keys and what each does now, the newest last.

        Raises:
            ConfigError: The file cannot be read, or can be read by others.
        """
        now = self._clock()
        keys = [key for key in self._read() if not _gone(key, now)]
        return [(key, state_of(key, keys, now)) for key in keys]

    def jwks(self) -> dict[str, Any]:
        """The public halves of the published keys (RFC 7517)."""
        return {"keys": [self._signer(key).published() for key, _ in self.listed()]}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A token with these claims, signed with the active key.

        Raises:
            ConfigError: There is no key to sign with.
        """
        key = active(self._read(), self._clock())
        if key is None:
            hint = "Make one: hermes-cron nas keys new"
            raise ConfigError(f"No key in {self._path} signs yet.", hint=hint)
        return self._signer(key).sign(claims)

    def new(self, alg: str) -> Key:
        """Make a key that is published at once and signs when somebody rotates; the first one signs at once.

        Raises:
            ConfigError: NAS signs with no such algorithm, or the file cannot be read.
            StoreBusy: Another command changes the keys.
            StoreError: The file cannot be written.
        """
        now = self._clock()
        key = make_key(alg, now)
        with self._alone():
            keys = self._read() if self._path.exists() else []
            if active(keys, now) is None:
                key = replace(key, signs_at=now)
            self._write([*keys, key])
        return key

    def rotate(self, alg: str | None, *, overlap: float = OVERLAP_S, keep: float = KEEP_S) -> Key:
        """Let another key sign: one made by `new` that waits (unless `alg` names another kind), or a new one.

        It signs when it has been published for `overlap` seconds; the others stay published `keep` seconds after
        that. Zero for both is the answer to a stolen key. Raises like `new`.
        """
        with self._alone():
            return self._rotate(alg, overlap, keep)

    def _rotate(self, alg: str | None, overlap: float, keep: float) -> Key:
        now = self._clock()
        keys = self._read()
        waiting = [key for key in keys if key.signs_at is None and alg in (None, key.alg) and not _gone(key, now)]
        current = active(keys, now)
        chosen = waiting[0] if waiting else make_key(alg or (current.alg if current else "ES256"), now)
        keys = rotated(keys, now, chosen, overlap=overlap, keep=keep)
        self._write(keys)
        return keys[-1]

    def _signer(self, key: Key) -> Signer:
        if key.kid not in self._signers:
            self._signers[key.kid] = Signer(key)
        return self._signers[key.kid]

    def _read(self) -> list[Key]:
        with self._lock:
            try:
                found = self._path.stat()
                stamp = (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)
                if stamp != self._stamp:
                    check_private(self._path)
                    self._keys = [_key(item) for item in json.loads(self._path.read_bytes())["keys"]]
                    self._stamp = stamp
            except FileNotFoundError as error:
                hint = "Make one: hermes-cron nas keys new"
                raise ConfigError(f"There is no key file {self._path}.", hint=hint) from error
            except (OSError, ValueError, KeyError, TypeError) as error:
                hint = "Restore a copy of it, or move it away and make new keys."
                raise ConfigError(f"The key file {self._path} cannot be read: {error}.", hint=hint) from error
            return list(self._keys)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else changes the file meanwhile; who reads it needs no turn."""
        try:
            handle = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            hint = "Make keys first: hermes-cron nas keys new"
            raise StoreError(f"The folder {self._path.parent} cannot be used: {error.strerror}.", hint=hint) from error
        try:
            hold(handle, TURN_S, f"Another command changes the keys in {self._path.parent}.", "Try again.")
            yield
            # A stolen key must not come back with the power.
            os.fsync(handle)
        finally:
            os.close(handle)

    def _write(self, keys: Sequence[Key]) -> None:
        text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=1, default=instant_text)
        try:
            # Made for its owner only, in the same folder, so that a reader finds the old file or the new, and whole.
            handle, draft = tempfile.mkstemp(prefix=".keys-", dir=self._path.parent)
            try:
                with os.fdopen(handle, "w") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(handle)
                Path(draft).replace(self._path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
        except OSError as error:
            hint = "Look at the rights of its folder, and at the free space on the disk."
            raise StoreError(f"The key file {self._path} cannot be written: {error.strerror}.", hint=hint) from error


def check_private(path: Path) -> None:
    """See that a file of secrets is for its owner, who is us, alone.

    Raises:
        ConfigError: Others may read it, or swap it.
    """
    found = path.stat()
    if found.st_mode & 0o077 or found.st_uid != os.geteuid():
        raise ConfigError(f"Others than this user may read {path}.", hint=f"chmod 600 {path}, and make new keys.")
    if path.parent.stat().st_mode & 0o022:
        raise ConfigError(f"Others may swap {path}, for they may write to its folder.", hint=f"chmod 700 {path.parent}")


def _key(item: Mapping[str, Any]) -> Key:
    times = {name: None if item[name] is None else read_instant(item[name]) for name in ("signs_at", "gone_at")}
    return Key(item["kid"], item["alg"], item["private_pem"], read_instant(item["made_at"]), **times)
