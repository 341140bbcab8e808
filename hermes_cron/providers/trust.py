"""May the code in a user's folder be run? Only if nobody but us or root can have put it there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_MOST_FILES = 10_000


def distrust(folder: Path) -> str:
    """Why nothing in this folder may be run, with the path at fault; empty when all of it may be.

    It, everything in it and the two folders above it (`plugins`, and the home) must be ours or root's and writable by
    no group and no others, and no link in it may lead out of it.
    """
    try:
        root = folder.resolve(strict=True)
        if root != folder.parent.resolve(strict=True) / folder.name:
            return f"{folder} is a link that leads elsewhere."
        for above in (folder.parent.parent, folder.parent):
            fault = _fault(above)
            if fault:
                return fault
        for count, path in enumerate(_all_in(folder)):
            if count > _MOST_FILES:
                return f"{folder} holds more than {_MOST_FILES} files."
            if path.is_symlink() and not path.resolve(strict=True).is_relative_to(root):
                return f"{path} is a link that leaves the plugin's folder."
            fault = _fault(path)
            if fault:
                return fault
    except (OSError, RuntimeError) as error:
        return f"{folder} cannot be looked through: {error}."
    return ""


def _all_in(folder: Path) -> Iterator[Path]:
    yield folder
    for parent, folders, files in os.walk(folder, onerror=_raise):
        for name in (*folders, *files):
            yield Path(parent, name)


def _raise(error: OSError) -> None:
    raise error


def _fault(path: Path) -> str:
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user (id {found.st_uid})."
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be written by others than its owner; `chmod go-w` it."
    return ""
