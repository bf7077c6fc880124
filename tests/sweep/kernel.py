"""The kernel's part: each counted call of a process tree asks us first (seccomp_unotify(2)).

One filter is laid on a process and on all that it starts; each counted call waits until we say:
go on, fail with this error, or we kill who made it. Linux >= 5.5, x86-64; no root needed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

# What changes something that outlives the process: files and their names, processes, signals.
CALLS = {
    1: "write",
    18: "pwrite64",
    20: "writev",
    40: "sendfile",
    56: "clone",
    57: "fork",
    58: "vfork",
    59: "execve",
    62: "kill",
    74: "fsync",
    75: "fdatasync",
    76: "truncate",
    77: "ftruncate",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    86: "link",
    87: "unlink",
    88: "symlink",
    90: "chmod",
    91: "fchmod",
    257: "openat",  # only where it may create or empty a file
    258: "mkdirat",
    263: "unlinkat",
    264: "renameat",
    265: "linkat",
    266: "symlinkat",
    268: "fchmodat",
    306: "syncfs",
    316: "renameat2",
    326: "copy_file_range",
    424: "pidfd_send_signal",
    435: "clone3",
}
_OPENAT = 257
_MAKES = os.O_CREAT | os.O_TRUNC

_SECCOMP = 317
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_NO_NEW_PRIVS = 38
_ASK, _ALLOW = 0x7FC00000, 0x7FFF0000
_X86_64 = 0xC000003E
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1

# struct seccomp_notif: id, pid, flags, nr, arch, instruction pointer, six arguments.
_ASKED = struct.Struct("=QIIiIQ6Q")
# struct seccomp_notif_resp: id, value, error, flags.
_ANSWER = struct.Struct("=QqiI")

# Classic BPF: load a word of struct seccomp_data, compare, return.
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_AT_NUMBER, _AT_ARCH, _AT_FLAGS = 0, 4, 32


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


@dataclass(frozen=True)
class Asked:
    """A call that waits for our answer."""

    id: int
    pid: int
    name: str
    arguments: tuple[int, ...]

    @property
    def file(self) -> str:
        """What a call about an open file is about; ``pipe:[7]`` and the like too; else empty."""
        if self.name not in _ABOUT_OPEN_FILES:
            return ""
        try:
            return os.readlink(f"/proc/{self.pid}/fd/{self.arguments[0]}")
        except OSError:
            return ""


_ABOUT_OPEN_FILES = frozenset(
    (
        *("write", "pwrite64", "writev", "sendfile", "fsync", "fdatasync", "ftruncate"),
        *("fchmod", "syncfs", "copy_file_range"),
    )
)


def why_not() -> str | None:
    """What keeps the sweep from running here; None: nothing."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return "the sweep knows the system calls of Linux on x86-64 only"
    sizes = ctypes.create_string_buffer(6)
    if ctypes.CDLL(None).syscall(_SECCOMP, 3, 0, sizes) != 0:
        return "this kernel lets nobody be asked about system calls (seccomp)"
    return None


def submit(connection: socket.socket) -> None:
    """From here on this process and all that it starts ask; who is asked gets the listener."""
    library = ctypes.CDLL(None, use_errno=True)
    code = b"".join(_instructions())
    program = _Program(len(code) // 8, code)
    if library.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    listener = library.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    socket.send_fds(connection, [b"."], [listener])
    os.close(listener)


def _instructions() -> Iterator[bytes]:
    """Ask about the calls of the table; of openat only about those that may change a file."""
    others = [number for number in CALLS if number != _OPENAT]
    yield _instruction(_LOAD, _AT_ARCH)
    yield _instruction(_JUMP_EQUAL, _X86_64, 1, 0)
    yield _instruction(_RETURN, _ALLOW)
    yield _instruction(_LOAD, _AT_NUMBER)
    for place, number in enumerate(others):
        yield _instruction(_JUMP_EQUAL, number, len(others) - place + 3, 0)
    yield _instruction(_JUMP_EQUAL, _OPENAT, 0, 2)
    yield _instruction(_LOAD, _AT_FLAGS)
    yield _instruction(_JUMP_SET, _MAKES, 1, 0)
    yield _instruction(_RETURN, _ALLOW)
    yield _instruction(_RETURN, _ASK)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def receive(listener: int) -> Asked | None:
    """The next call that waits; None where its process died meanwhile."""
    buffer = bytearray(_ASKED.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    number, pid, _, call, _, _, *arguments = _ASKED.unpack(buffer)
    return Asked(number, pid, CALLS[call], tuple(arguments))


def go_on(listener: int, asked: Asked) -> None:
    _answer(listener, _ANSWER.pack(asked.id, 0, 0, _CONTINUE))


def fail(listener: int, asked: Asked, error: int) -> None:
    _answer(listener, _ANSWER.pack(asked.id, -1, -error, 0))


def _answer(listener: int, answer: bytes) -> None:
    try:
        fcntl.ioctl(listener, _SEND, bytearray(answer))
    except OSError as error:
        if error.errno != errno.ENOENT:  # it was killed while it waited
            raise
