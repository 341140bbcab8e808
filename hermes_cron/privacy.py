"""What is for us alone: folders are made so, and a file that others could have written is not believed."""

from __future__ import annotations

import stat
from pathlib import Path

MIN_SECRET_BYTES = 24
_MOST = 64 * 1024


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, all of them for their owner alone, whatever the umask is.

    Raises:
        OSError: It cannot be made.
    """
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for above in reversed(missing):
        above.mkdir(mode=0o700, exist_ok=True)


def fault(file: Path) -> str:
    """Why a file that is there should not be believed: others than its owner may write to it; empty if it should.

    Raises:
        OSError: It cannot be looked at.
    """
    mode = file.stat().st_mode
    writable = stat.S_ISREG(mode) and mode & (stat.S_IWGRP | stat.S_IWOTH)
    return f"others than its owner may write to {file}; run `chmod go-w` on it" if writable else ""


def read_lines(file: Path) -> list[str]:
    """The lines of a small file of secrets, without empty ones and the spaces around them.

    Raises:
        OSError: It cannot be read.
        ValueError: It is long or not UTF-8, or others than its owner may write to it; the text is fit to be shown.
    """
    words = fault(file)
    if words:
        raise ValueError(words)
    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(_MOST + 1)
    except UnicodeDecodeError:
        # What stands there is a secret, and so is what a decoder would quote of it.
        raise ValueError(f"{file} is not text") from None
    if len(text) > _MOST:
        # What is cut off somewhere is another secret.
        raise ValueError(f"{file} is longer than {_MOST} characters")
    return [line.strip() for line in text.splitlines() if line.strip()]
