"""Which file system a path lies on, where the system tells (Linux: /proc/self/mountinfo, see proc(5))."""

from __future__ import annotations

import re
from pathlib import Path

NETWORK = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "gpfs",
        "ncpfs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.rclone",
        "fuse.davfs",
        "fuse.juicefs",
        "fuse.ceph",
    ]
)
"""File systems whose locks or shared memory do not hold between hosts as SQLite needs them."""

_MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def filesystem_of(path: Path, mountinfo: Path = _MOUNTINFO) -> str:
    """The type of the file system a path lies on or would lie on; empty where that cannot be told."""
    try:
        lines = mountinfo.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    real = path.resolve()
    found: tuple[int, str] = (-1, "")
    for line in lines:
        before, _, after = line.partition(" - ")
        places, kinds = before.split(), after.split()
        if len(places) < 5 or not kinds:
            continue
        mount = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), places[4]))
        # A later mount on the same place hides the earlier one.
        if real.is_relative_to(mount) and len(mount.parts) >= found[0]:
            found = len(mount.parts), kinds[0]
    return found[1]
