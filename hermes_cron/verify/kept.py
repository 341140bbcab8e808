"""The last good key set, kept on disk, so that a fire that wakes the process is judged before anything is fetched."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from hermes_cron.clock import instant_text, read_instant
from hermes_cron.privacy import make_folder
from hermes_cron.verify.objects import read_object

_MAX_BYTES = 1024 * 1024


def place_of(home: Path, url: str) -> Path:
    """The file that the set of this URL is kept in."""
    return home / "jwks" / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"


def load(place: Path, url: str) -> tuple[dict[str, Any], datetime]:
    """The set kept for this URL, and when it was fetched.

    Raises:
        ValueError: It is damaged, or of another URL.
        OSError: It cannot be read, or somebody else could have written it.
    """
    _only_ours(place.parent.stat())
    handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        _only_ours(os.fstat(file.fileno()))
        found = read_object(file.read(_MAX_BYTES))
    if found.get("url") != url or not isinstance(found.get("jwks"), dict):
        raise ValueError("it is not what we kept")
    return found["jwks"], read_instant(found.get("fetched_at", ""))


def save(place: Path, url: str, jwks: dict[str, Any], fetched_at: datetime) -> None:
    """Keep a set, readable by us alone; whoever reads at the same time sees the old one or the new one.

    Raises:
        OSError: It cannot be written.
    """
    make_folder(place.parent)
    text = json.dumps({"url": url, "fetched_at": instant_text(fetched_at), "jwks": jwks})
    handle, draft = tempfile.mkstemp(dir=place.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(draft).replace(place)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise


def _only_ours(found: os.stat_result) -> None:
    # Whoever can write here could sign fires.
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise PermissionError("others can write to it")
