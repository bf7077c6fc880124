"""Run a process tree with one fault in it, and wait for, find or kill its processes."""

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

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, prctl(2)
_TIMEOUT = 60.0  # seconds

# The calls that can fail with ENOSPC, and those that can fail with EIO.
_CAN_FAIL_WITH_ENOSPC = frozenset(
    (
        *("write", "pwrite64", "writev", "sendfile", "copy_file_range", "ftruncate", "openat"),
        *("mkdir", "mkdirat", "symlink", "symlinkat", "link", "linkat", "rename", "renameat"),
        *("renameat2",),
    )
)
_CAN_FAIL_WITH_EIO = _CAN_FAIL_WITH_ENOSPC | frozenset(
    ("fsync", "fdatasync", "syncfs", "unlink", "unlinkat", "rmdir", "truncate")
)


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    ``error`` is the errno with which the call fails; 0: its process is killed instead.
    ``everywhere``: every later call fails, too (the disk stays full); or, where ``error`` is 0, all
    processes are killed. ``calls`` are the names of the calls that can meet this fault.
    """

    name: str
    error: int = 0
    everywhere: bool = False
    calls: frozenset[str] = frozenset(kernel.CALLS.values())

    def applies_to(self, call: kernel.PendingCall) -> bool:
        """Tell whether this call can meet this fault."""
        if call.name not in self.calls:
            return False
        return not self.error or not call.file or _is_on_disk(call.file)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("kill"),
        Kind("crash", everywhere=True),
        Kind("nospace", errno.ENOSPC, calls=_CAN_FAIL_WITH_ENOSPC),
        Kind("full", errno.ENOSPC, everywhere=True, calls=_CAN_FAIL_WITH_ENOSPC),
        Kind("ioerror", errno.EIO, calls=_CAN_FAIL_WITH_EIO),
        Kind("broken", errno.EIO, everywhere=True, calls=_CAN_FAIL_WITH_EIO),
    )
}


@dataclass(frozen=True)
class Fault:
    """A fault at the Nth call that it applies to; ``number`` is N, from 1."""

    kind: Kind
    number: int

    @property
    def persists(self) -> bool:
        """Tell whether the calls after that one fail, too."""
        return self.kind.everywhere and bool(self.kind.error)


@dataclass(frozen=True)
class Run:
    """The result of a run: exit status and output of its first process, and the calls in order.

    ``faulted_call`` is the call that met the fault; None: the run ended before. ``in_a_step`` tells
    whether that call was made by a step's command, or was an execve.
    """

    status: int
    output: bytes
    calls: tuple[str, ...]
    faulted_call: str | None
    in_a_step: bool

    @property
    def was_killed(self) -> bool:
        return self.status == -signal.SIGKILL


class ProcessTree:
    """A process tree whose calls are counted and can be made to fail.

    Use it as a context manager: a thread answers for the calls until the block is left, which kills
    all processes. ``only_first``: only the calls of the first process count.
    """

    def __init__(self, fault: Fault | None, kind: Kind, *, only_first: bool) -> None:
        self._fault = fault
        self._kind = kind
        self._only_first = only_first
        self._first = 0
        self._calls: list[str] = []
        self._faulted_call: str | None = None
        self._in_a_step = False
        self._listener = -1
        self._injecting = threading.Lock()
        self._serving = threading.Thread(target=self._serve)

    def __enter__(self) -> ProcessTree:
        adopt_orphans()
        return self

    def __exit__(self, *_: object) -> None:
        kill_descendants()
        self._serving.join()
        os.close(self._listener)
        reap()

    def run(self, work: Callable[[], int]) -> Run:
        """Run ``work`` in a child process and return its result; its descendants may still run."""
        own_end, child_end = socket.socketpair()
        reading, writing = os.pipe()
        self._first = os.fork()
        if not self._first:
            os.close(reading)
            _run_first(child_end, writing, work)
        child_end.close()
        os.close(writing)
        with own_end:
            _, (self._listener, *_), _, _ = socket.recv_fds(own_end, 1, 1)
        self._serving.start()
        output = _read_all(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(self._first, 0)[1])
        with self._injecting:  # wait until a fault has killed all the processes that it kills
            pass
        return Run(status, output, tuple(self._calls), self._faulted_call, self._in_a_step)

    def wait(self) -> None:
        """Wait until the last process of the tree has ended; TimeoutError after 60 seconds."""
        self._serving.join(_TIMEOUT)
        if self._serving.is_alive():
            raise TimeoutError(f"not over after {_TIMEOUT} s")

    def _serve(self) -> None:
        """Answer for the calls until no process with the filter is left."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while True:
            events = poll.poll()
            if any(event & (select.POLLHUP | select.POLLERR) for _, event in events):
                return
            if events and (call := kernel.next_call(self._listener)):
                self._answer(call)

    def _answer(self, call: kernel.PendingCall) -> None:
        if (self._only_first and call.pid != self._first) or not self._kind.applies_to(call):
            kernel.go_on(self._listener, call)
            return
        self._calls.append(call.name)
        fault, number = self._fault, len(self._calls)
        if fault and (number == fault.number or (number > fault.number and fault.persists)):
            with self._injecting:
                self._inject(fault.kind, call)
        else:
            kernel.go_on(self._listener, call)

    def _inject(self, kind: Kind, call: kernel.PendingCall) -> None:
        if self._faulted_call is None:
            self._faulted_call = f"{call.name} {call.file}".strip()
            self._in_a_step = call.name == "execve" or _is_step(call.pid)
        if kind.error:
            kernel.fail(self._listener, call, kind.error)
        elif kind.everywhere:
            kill_descendants()
        else:
            _kill(call.pid)


def _is_on_disk(file: str) -> bool:
    return file.startswith("/") and not file.startswith(("/dev/", "/proc/", "/memfd:"))


def _is_step(pid: int) -> bool:
    """Tell whether the process belongs to a step, by the variable that deployctl sets for steps.

    Helpers have that variable, too, with a value that begins with ``helper-``.
    """
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        return any(
            entry.startswith(f"{MARKER}=".encode()) and b"=helper-" not in entry
            for entry in file.read().split(b"\0")
        )
    return False


def _run_first(connection: socket.socket, output: int, work: Callable[[], int]) -> None:
    status = 99
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        kernel.install_filter(connection)
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
    """Make orphans of this process tree children of this process, so that all can be found."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> None:
    """Kill all descendants of this process, until none is left that could fork."""
    deadline = time.monotonic() + _TIMEOUT
    while alive := [pid for pid in descendants() if _is_alive(pid)]:
        for pid in alive:
            _kill(pid)
        if time.monotonic() > deadline:
            raise TimeoutError(f"cannot end {alive}")
        time.sleep(0.001)


def wait_for_descendants(seconds: float) -> bool:
    """Wait for all descendants of this process to end; tell whether they did in this time."""
    deadline = time.monotonic() + seconds
    while any(map(_is_alive, descendants())):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def descendants() -> Iterator[int]:
    """Yield the process ids of all descendants of this process, also of zombies."""
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


def _is_alive(pid: int) -> bool:
    """Tell whether the process exists and is no zombie (Z) and not dead (X)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def reap() -> None:
    """Wait for all children that have ended, so that no zombie is left."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
