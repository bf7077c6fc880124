"""Mount an empty FUSE file system, which deployctl takes for a network file system (sshfs)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

# <linux/fuse.h>
_GETATTR, _INIT = 3, 26
_ENOSYS, _MNT_DETACH, _NODEV_NOSUID = 38, 2, 6
_HEADER = struct.Struct("<IiQ")


@contextlib.contextmanager
def mounted(directory: Path, kind: str = "fuse.sshfs") -> Iterator[None]:
    """Mount an empty file system on the directory until the block is left.

    ``kind`` is its type, as mount(2) takes it. The test is skipped where this cannot be mounted.
    """
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("mounting takes root and /dev/fuse")
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    try:
        if libc.mount(b"test", bytes(directory), kind.encode(), _NODEV_NOSUID, options) != 0:
            pytest.skip(f"cannot mount fuse: {os.strerror(ctypes.get_errno())}")
        server = threading.Thread(target=_serve, args=(device,))
        server.start()
        try:
            yield
        finally:
            libc.umount2(bytes(directory), _MNT_DETACH)
            server.join()
    finally:
        os.close(device)


def _serve(device: int) -> None:
    """Answer the kernel's requests until the file system is unmounted."""
    with contextlib.suppress(OSError):
        while True:
            request = os.read(device, 1 << 17)
            _, operation, unique = struct.unpack_from("<IIQ", request)
            body, error = _answer(operation)
            os.write(device, _HEADER.pack(_HEADER.size + len(body), error, unique) + body)


def _answer(operation: int) -> tuple[bytes, int]:
    """Return body and error: only the attributes of the empty directory are known."""
    if operation == _INIT:  # protocol version 7.26, and the limits of one request
        return struct.pack("<IIIIHHIIHHI28x", 7, 26, 0, 0, 1, 1, 4096, 1, 0, 0, 0), 0
    if operation == _GETATTR:
        attributes = (0o40700, 2, os.geteuid(), os.getegid(), 0, 4096, 0)
        return struct.pack("<QII6Q10I", 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, *attributes), 0
    return b"", -_ENOSYS
