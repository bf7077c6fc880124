"""Run something with one fault in it, and know what became of all its processes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from deployctl.system.process_tree import MARKER
from tests.sweep import kernel

_SUBREAPER = 36  # prctl(2)
_PATIENCE = 60.0  # seconds

# The calls that need room on a disk, and those that a broken disk fails.
_TAKE_ROOM = frozenset(
    (
        *("write", "pwrite64", "writev", "sendfile", "copy_file_range", "ftruncate", "openat"),
        *("mkdir", "mkdirat", "symlink", "symlinkat", "link", "linkat", "rename", "renameat"),
        *("renameat2",),
    )
)
_TOUCH_THE_DISK = _TAKE_ROOM | frozenset(
    ("fsync", "fdatasync", "syncfs", "unlink", "unlinkat", "rmdir", "truncate")
)


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    ``error`` is what the call fails with, 0: its process is killed. ``everywhere``: not that call
    alone but every later one too (the disk stays full), or not that process alone but all of them.
    """

    name: str
    error: int = 0
    everywhere: bool = False
    calls: frozenset[str] = frozenset(kernel.CALLS.values())

    def concerns(self, asked: kernel.Asked) -> bool:
        """Whether the call is one of those that this fault can meet."""
        if asked.name not in self.calls:
            return False
        return not self.error or not asked.file or _is_on_disk(asked.file)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("kill"),
        Kind("crash", everywhere=True),
        Kind("nospace", errno.ENOSPC, calls=_TAKE_ROOM),
        Kind("full", errno.ENOSPC, everywhere=True, calls=_TAKE_ROOM),
        Kind("ioerror", errno.EIO, calls=_TOUCH_THE_DISK),
        Kind("broken", errno.EIO, everywhere=True, calls=_TOUCH_THE_DISK),
    )
}


@dataclass(frozen=True)
class Fault:
    """A fault at the Nth call that it concerns."""

    kind: Kind
    number: int

    @property
    def stays(self) -> bool:
        """Whether it meets the calls after that one, too."""
        return self.kind.everywhere and bool(self.kind.error)


@dataclass(frozen=True)
class Ran:
    """What became of it: the status of the first process, its output, the calls in their order.

    ``struck`` is the call that met the fault, None: it was over before; ``in_a_step``: it was made
    by a command of the operator, or by one just being started.
    """

    status: int
    output: bytes
    calls: tuple[str, ...]
    struck: str | None
    in_a_step: bool

    @property
    def was_killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Machine:
    """A process tree with a fault in it; its questions are answered until the block is left."""

    def __init__(self, fault: Fault | None, kind: Kind, *, only_first: bool) -> None:
        self._fault = fault
        self._kind = kind
        self._only_first = only_first
        self._first = 0
        self._calls: list[str] = []
        self._struck: str | None = None
        self._in_a_step = False
        self._listener = -1
        self._striking = threading.Lock()
        self._serving = threading.Thread(target=self._serve)

    def __enter__(self) -> Machine:
        adopt_orphans()
        return self

    def __exit__(self, *_: object) -> None:
        end_all_below()
        self._serving.join()
        os.close(self._listener)
        reap()

    def run(self, work: Callable[[], int]) -> Ran:
        """Let a child do the work -> how that ended; others of the tree may live on."""
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        self._first = os.fork()
        if not self._first:
            os.close(reading)
            _be_the_first(theirs, writing, work)
        theirs.close()
        os.close(writing)
        with ours:
            _, (self._listener, *_), _, _ = socket.recv_fds(ours, 1, 1)
        self._serving.start()
        output = _read_all(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(self._first, 0)[1])
        with self._striking:  # a crash has ended all of them before anybody looks
            pass
        return Ran(status, output, tuple(self._calls), self._struck, self._in_a_step)

    def wait(self) -> None:
        """Until the last process of the tree is gone."""
        self._serving.join(_PATIENCE)
        if self._serving.is_alive():
            raise TimeoutError(f"not over after {_PATIENCE} s")

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while True:
            events = poll.poll()
            if any(event & (select.POLLHUP | select.POLLERR) for _, event in events):
                return
            if events and (asked := kernel.receive(self._listener)):
                self._answer(asked)

    def _answer(self, asked: kernel.Asked) -> None:
        if (self._only_first and asked.pid != self._first) or not self._kind.concerns(asked):
            kernel.go_on(self._listener, asked)
            return
        self._calls.append(asked.name)
        fault, number = self._fault, len(self._calls)
        if fault and (number == fault.number or (number > fault.number and fault.stays)):
            with self._striking:
                self._strike(fault.kind, asked)
        else:
            kernel.go_on(self._listener, asked)

    def _strike(self, kind: Kind, asked: kernel.Asked) -> None:
        if self._struck is None:
            self._struck = f"{asked.name} {asked.file}".strip()
            self._in_a_step = asked.name == "execve" or _is_step(asked.pid)
        if kind.error:
            kernel.fail(self._listener, asked, kind.error)
        elif kind.everywhere:
            end_all_below()
        else:
            _kill(asked.pid)


def _is_on_disk(file: str) -> bool:
    return file.startswith("/") and not file.startswith(("/dev/", "/proc/", "/memfd:"))


def _is_step(pid: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        return any(
            entry.startswith(f"{MARKER}=".encode()) and b"=helper-" not in entry
            for entry in file.read().split(b"\0")
        )
    return False


def _be_the_first(connection: socket.socket, output: int, work: Callable[[], int]) -> None:
    status = 99
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        kernel.submit(connection)
        connection.close()
        status = work()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    finally:
        os._exit(status)


def _read_all(reading: int) -> bytes:
    with os.fdopen(reading, "rb") as file:
        return file.read()


def adopt_orphans() -> None:
    """Whatever loses its parent becomes our child, so that nothing can get away."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def end_all_below() -> None:
    """Kill all that came from this process, until nothing is left that could fork."""
    until = time.monotonic() + _PATIENCE
    while living := [pid for pid in descendants() if _lives(pid)]:
        for pid in living:
            _kill(pid)
        if time.monotonic() > until:
            raise TimeoutError(f"cannot end {living}")
        time.sleep(0.001)


def none_left_alive(patience: float) -> bool:
    """Wait so many seconds for all that came from this process to end -> whether they did."""
    until = time.monotonic() + patience
    while any(map(_lives, descendants())):
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def descendants() -> Iterator[int]:
    """Every process below this one."""
    waiting = [os.getpid()]
    while waiting:
        children = _children(waiting.pop())
        yield from children
        waiting += children


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def reap() -> None:
    """Take leave of the dead that became our children."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
