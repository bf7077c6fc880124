"""Find the file system that a path is on, and tell whether file locks can be relied on there.

The webhook imports this module, so on an ordinary disk it reads no file.
"""

from __future__ import annotations

import os

MOUNTS = "/proc/self/mountinfo"

# On these file systems the locks of flock(2) and SQLite cannot be relied on, even if they report
# success (https://www.sqlite.org/howtocorrupt.html, 2.1).
_UNSAFE_TYPES = frozenset(
    (
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse", "gpfs", "lustre", "ncpfs"),
        *("nfs", "nfs4", "smb", "smb2", "smb3", "smbfs"),
    )
)


def is_unsafe(kind: str) -> bool:
    """Tell whether a file system of this type is, or may be, on another machine (fuse.sshfs)."""
    return kind in _UNSAFE_TYPES or kind.startswith("fuse.")


def unsafe_mount(path: str, mounts: str = MOUNTS) -> tuple[str, str] | None:
    """Return type and mount point of the path's file system if locks may not work there.

    None: they work. The path must exist. A major number other than 0 in ``st_dev`` means a block
    device, so a local disk; only without one the file ``mounts`` is read.
    """
    if os.major(os.stat(path).st_dev):
        return None
    kind, mount_point = mounted_at(os.path.realpath(path), mounts)
    return (kind, mount_point) if is_unsafe(kind) else None


def mounted_at(path: str, mounts: str = MOUNTS) -> tuple[str, str]:
    """Return type and mount point of the file system that a path without symlinks is on.

    ``mounts`` is a file as in proc_pid_mountinfo(5). If two file systems are mounted at the same
    point, the later line is the visible one. Return ``("unknown", "/")`` if no line matches.
    """
    found = ("unknown", "/")
    with open(mounts, encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            before, _, after = line.partition(" - ")
            mount_point = _unescape(before.split(" ")[4])
            is_below = f"{path}/".startswith(os.path.join(mount_point, ""))
            if is_below and len(mount_point) >= len(found[1]):
                found = (after.split(" ")[0], mount_point)
    return found


def _unescape(text: str) -> str:
    """Decode the octal escapes of mountinfo: a space is ``\\040``, a backslash ``\\134``."""
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
