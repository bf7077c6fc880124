"""Write files and directories through to the disk, so that they survive a power cut.

The webhook imports this module, so it must import little.
"""

from __future__ import annotations

import os


def sync(path: str) -> None:
    """Call fsync(2) for a file or a directory; the latter makes the names in it durable."""
    fd = _open(path)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file_system(path: str) -> None:
    """Call syncfs(2), which Python does not offer: write out the whole file system of a path."""
    import ctypes

    fd = _open(path)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(fd)


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
