"""The reserve: a file of 1 MiB that is removed when a full disk prevents writing the record.

It makes room for the outcome of a deployment. The webhook imports this module but leaves the file
alone, since a delivery that cannot be stored can be sent again.
"""

from __future__ import annotations

import os

SIZE = 1024 * 1024  # bytes
# It is created only while so many bytes are free, so that it does not itself fill the disk.
_MIN_FREE = 20 * SIZE


def _path(state_dir: str) -> str:
    return os.path.join(state_dir, "reserve")


def ensure_reserve(state_dir: str) -> None:
    """Create the reserve file if it is missing or too small, and the disk has room for it.

    Its content is random, so that a file system with compression cannot make it smaller.
    """
    path = _path(state_dir)
    try:
        if os.path.exists(path) and os.stat(path).st_size >= SIZE:
            return
        status = os.statvfs(state_dir)
        if status.f_bavail * status.f_frsize >= _MIN_FREE:
            with open(path, "wb", opener=_open_private) as file:
                file.write(os.urandom(SIZE))
    except OSError:
        remove_reserve(state_dir)


def remove_reserve(state_dir: str) -> bool:
    """Remove the reserve file; return False if there was none, or it cannot be removed."""
    try:
        os.unlink(_path(state_dir))
    except OSError:
        return False
    return True


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
