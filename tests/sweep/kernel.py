"""Stop a process tree at each system call that counts, with seccomp (seccomp_unotify(2)).

A filter is installed in a process and inherited by all that it starts. Each call that counts waits
until the supervising process answers: go on, or fail with this error; or kills the process that
made it. Needs Linux >= 5.5 on x86-64, and no root.
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

# The calls that count, by number: those that change something that outlives the process, which are
# files and their names, processes, and signals.
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
_MAY_CHANGE = os.O_CREAT | os.O_TRUNC

_SECCOMP = 317
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_NO_NEW_PRIVS = 38
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_X86_64 = 0xC000003E
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1

# struct seccomp_notif: id, pid, flags, nr, arch, instruction pointer, six arguments.
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
# struct seccomp_notif_resp: id, value, error, flags.
_ANSWER = struct.Struct("=QqiI")

# Classic BPF: load a word of struct seccomp_data, compare, return.
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_AT_NUMBER, _AT_ARCH, _AT_FLAGS = 0, 4, 32


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


@dataclass(frozen=True)
class PendingCall:
    """A system call that waits for an answer; ``id`` is the kernel's number for it."""

    id: int
    pid: int
    name: str
    arguments: tuple[int, ...]

    @property
    def file(self) -> str:
        """The file that the call's descriptor refers to, as in /proc/PID/fd: also ``pipe:[7]``.

        Empty for calls that take no file descriptor.
        """
        if self.name not in _TAKE_FILE_DESCRIPTOR:
            return ""
        try:
            return os.readlink(f"/proc/{self.pid}/fd/{self.arguments[0]}")
        except OSError:
            return ""


_TAKE_FILE_DESCRIPTOR = frozenset(
    (
        *("write", "pwrite64", "writev", "sendfile", "fsync", "fdatasync", "ftruncate"),
        *("fchmod", "syncfs", "copy_file_range"),
    )
)


def obstacle() -> str | None:
    """Return why the sweep cannot run on this machine, or None if it can."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return "the sweep knows the system calls of Linux on x86-64 only"
    sizes = ctypes.create_string_buffer(6)
    if ctypes.CDLL(None).syscall(_SECCOMP, 3, 0, sizes) != 0:
        return "this kernel has no seccomp notifications"
    return None


def install_filter(connection: socket.socket) -> None:
    """Install the filter in this process, and send its listener over the connection.

    The listener is the file descriptor from which calls are read. Raise OSError.
    """
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
    """Yield the filter: notify for the calls in CALLS, for openat only if it may change a file."""
    others = [number for number in CALLS if number != _OPENAT]
    yield _instruction(_LOAD, _AT_ARCH)
    yield _instruction(_JUMP_EQUAL, _X86_64, 1, 0)
    yield _instruction(_RETURN, _ALLOW)
    yield _instruction(_LOAD, _AT_NUMBER)
    for index, number in enumerate(others):
        yield _instruction(_JUMP_EQUAL, number, len(others) - index + 3, 0)
    yield _instruction(_JUMP_EQUAL, _OPENAT, 0, 2)
    yield _instruction(_LOAD, _AT_FLAGS)
    yield _instruction(_JUMP_SET, _MAY_CHANGE, 1, 0)
    yield _instruction(_RETURN, _ALLOW)
    yield _instruction(_RETURN, _NOTIFY)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def next_call(listener: int) -> PendingCall | None:
    """Return the next call that waits; None where its process has ended meanwhile."""
    buffer = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    id_, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
    return PendingCall(id_, pid, CALLS[number], tuple(arguments))


def go_on(listener: int, call: PendingCall) -> None:
    """Let the call run."""
    _answer(listener, _ANSWER.pack(call.id, 0, 0, _CONTINUE))


def fail(listener: int, call: PendingCall, error: int) -> None:
    """Let the call fail with this errno."""
    _answer(listener, _ANSWER.pack(call.id, -1, -error, 0))


def _answer(listener: int, answer: bytes) -> None:
    try:
        fcntl.ioctl(listener, _SEND, bytearray(answer))
    except OSError as error:
        if error.errno != errno.ENOENT:  # the process was killed while the call waited
            raise
