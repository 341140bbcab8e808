"""Which file system a path lies on."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_cron.store.mounts import NETWORK, filesystem_of

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:50 / /mnt/far rw,relatime - nfs4 server:/export rw
41 40 0:51 / /mnt/far/near rw - tmpfs tmpfs rw
42 22 0:52 / /mnt/a\040b rw shared:2 master:1 - fuse.sshfs me@there: rw
43 22 0:53 / /mnt/twice rw - ext4 /dev/vdb rw
44 22 0:54 / /mnt/twice rw - cifs //server/share rw
not a line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/x.db", "ext4"),
        ("/mnt/far/x.db", "nfs4"),
        ("/mnt/farther/x.db", "ext4"),
        ("/mnt/far/near/deep/x.db", "tmpfs"),
        ("/mnt/a b/x.db", "fuse.sshfs"),
        ("/mnt/twice/x.db", "cifs"),
    ],
)
def test_it_tells_the_innermost_mount(tmp_path: Path, path: str, kind: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert filesystem_of(Path(path), tmp_path / "mountinfo") == kind


def test_it_cannot_tell_without_the_list(tmp_path: Path) -> None:
    assert filesystem_of(Path("/x.db"), tmp_path / "missing") == ""


def test_this_machine_keeps_temporary_files_locally(tmp_path: Path) -> None:
    assert filesystem_of(tmp_path) not in NETWORK
