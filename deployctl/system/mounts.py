"""Which file system a path is on, and whether locks hold there.

This module is on the webhook's way: on an ordinary disk it reads nothing.
"""

from __future__ import annotations

import os

MOUNTS = "/proc/self/mountinfo"

# flock(2) and SQLite's locks are not to be relied on there, whatever they answer
# (https://www.sqlite.org/howtocorrupt.html, 2.1).
_UNSAFE = frozenset(
    (
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse", "gpfs", "lustre", "ncpfs"),
        *("nfs", "nfs4", "smb", "smb2", "smb3", "smbfs"),
    )
)


def is_unsafe(kind: str) -> bool:
    """Whether it is a file system of another machine, or might be one (``fuse.sshfs``)."""
    return kind in _UNSAFE or kind.startswith("fuse.")


def unsafe_mount(path: str, mounts: str = MOUNTS) -> tuple[str, str] | None:
    """Type and mount point of the path's file system where locks do not hold; None: they do.

    What is on a block device has a major number in ``st_dev``, and is not of another machine.
    """
    if os.major(os.stat(path).st_dev):
        return None
    kind, point = mounted_at(os.path.realpath(path), mounts)
    return (kind, point) if is_unsafe(kind) else None


def mounted_at(path: str, mounts: str = MOUNTS) -> tuple[str, str]:
    """The type and the mount point of a real path's file system, by proc_pid_mountinfo(5).

    Of two mounts at the same point the later one is on top.
    """
    found = ("unknown", "/")
    with open(mounts, encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            before, _, after = line.partition(" - ")
            point = _unescaped(before.split(" ")[4])
            if f"{path}/".startswith(os.path.join(point, "")) and len(point) >= len(found[1]):
                found = (after.split(" ")[0], point)
    return found


def _unescaped(text: str) -> str:
    """A blank in a mount point is ``\\040`` there, and a backslash ``\\134``."""
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
