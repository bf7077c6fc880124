"""On the disk and not just in memory: what must be there after a power cut.

This module is on the webhook's way.
"""

from __future__ import annotations

import os


def sync(path: str) -> None:
    """fsync a file or a directory, which makes the names in it durable."""
    fd = _open(path)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file_system(path: str) -> None:
    """syncfs(2), which Python does not offer: every file on the disk of this one, in one call."""
    import ctypes

    fd = _open(path)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(fd)


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
