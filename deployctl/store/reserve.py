"""A file of no use but its room: given up where the outcome of a deployment meets a full disk.

This module is on the webhook's way, which never touches the file: a delivery can come again.
"""

from __future__ import annotations

import os

SIZE = 1024 * 1024
# It is made while this much is free, so that it is not what fills the disk.
ROOM = 20 * SIZE


def path_of(state_dir: str) -> str:
    return os.path.join(state_dir, "reserve")


def keep(state_dir: str) -> None:
    """See that it is there, where there is room; random, so that no file system makes it small."""
    path = path_of(state_dir)
    try:
        if os.path.exists(path) and os.stat(path).st_size >= SIZE:
            return
        status = os.statvfs(state_dir)
        if status.f_bavail * status.f_frsize >= ROOM:
            with open(path, "wb", opener=_open_private) as file:
                file.write(os.urandom(SIZE))
    except OSError:
        give_up(state_dir)


def give_up(state_dir: str) -> bool:
    """-> whether there was something to give up."""
    try:
        os.unlink(path_of(state_dir))
    except OSError:
        return False
    return True


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
