"""Processes as the kernel knows them: who one is, and all that belong to a run (Linux >= 5.3)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# Every process of a command inherits this variable, however far it forks away. A marker may have
# parts, DEPLOYCTL_RUN=run/build/step, and stands for all that begin with it.
MARKER = "DEPLOYCTL_RUN"

_GONE = (FileNotFoundError, ProcessLookupError)
_STATE, _GROUP, _STARTED = 0, 2, 19  # proc_pid_stat(5): fields 3, 5, 22; counted after the name
_DEAD = (b"Z", b"X")
_PATIENCE = 5.0  # seconds; what SIGKILL does not end by then hangs in the kernel
_PAUSE = 0.01


@dataclass(frozen=True)
class Identity:
    """One process and no other: a pid is used again, never together with start and boot.

    ``started`` is in clock ticks since the boot that ``boot_id`` names.
    """

    pid: int
    started: int
    boot_id: str


def identity(pid: int | None = None) -> Identity:
    """Who ``pid`` (default: this process) is; :class:`ProcessLookupError` where it is gone."""
    number = os.getpid() if pid is None else pid
    try:
        return Identity(number, int(_stat(number)[_STARTED]), boot_id())
    except FileNotFoundError:
        raise ProcessLookupError(f"no process {number}") from None


def is_alive(identity: Identity) -> bool:
    """Whether that very process still runs: not after a reboot, not as a zombie."""
    if identity.boot_id != boot_id():
        return False
    try:
        fields = _stat(identity.pid)
    except _GONE:
        return False
    return int(fields[_STARTED]) == identity.started and fields[_STATE] not in _DEAD


def send_signal(identity: Identity, signum: int) -> bool:
    """Signal that very process; False where it is gone, :class:`PermissionError` if not ours.

    The pidfd is opened first and pins what the check then looks at (pidfd_open(2)).
    """
    try:
        with _pidfd(identity.pid) as pidfd:
            if not is_alive(identity):
                return False
            signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return False
    return True


def signal_marked(marker: str, signum: int) -> set[int]:
    """Signal every process of ours that carries the marker, except this one; their pids.

    Out of reach: processes of another user (sudo) and those that overwrote their environment.
    """
    reached = set()
    for pid in _pids():
        with contextlib.suppress(*_GONE, PermissionError), _pidfd(pid) as pidfd:
            if _carries(pid, marker):
                signal.pidfd_send_signal(pidfd, signum)
                reached.add(pid)
    return reached


def end_marked(marker: str) -> int:
    """Kill every process that carries the marker, also those born meanwhile; how many.

    They are gone when it returns: a killed process drops its environment before its files.
    """
    ended: set[int] = set()
    until = time.monotonic() + _PATIENCE
    while reached := signal_marked(marker, signal.SIGKILL):
        ended |= reached
        if time.monotonic() > until:
            break
        time.sleep(_PAUSE)
    _await(lambda: not any(map(_lives, ended)), until)
    return len(ended)


def signal_group(leader: int, signum: int) -> None:
    """Signal the group of a leader not yet waited for: until then its id is nobody else's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signum)


def end_group(leader: int) -> None:
    """Kill the group of a leader not yet waited for; none of it is left when it returns."""
    signal_group(leader, signal.SIGKILL)
    _await(lambda: not any(_lives(pid, leader) for pid in _pids()), time.monotonic() + _PATIENCE)


def _await(condition: Callable[[], bool], until: float) -> None:
    while not condition() and time.monotonic() < until:
        time.sleep(_PAUSE)


def _lives(pid: int, group: int | None = None) -> bool:
    """Whether a process has not ended and is, where that is asked, of this group."""
    try:
        fields = _stat(pid)
    except _GONE:
        return False
    return fields[_STATE] not in _DEAD and (group is None or int(fields[_GROUP]) == group)


def _pids() -> list[int]:
    return [
        int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()
    ]


def _carries(pid: int, marker: str) -> bool:
    wanted = f"{MARKER}={marker}/".encode()
    with open(f"/proc/{pid}/environ", "rb") as file:
        return any((entry + b"/").startswith(wanted) for entry in file.read().split(b"\0"))


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def _stat(pid: int) -> list[bytes]:
    """The fields after the name, which may itself hold spaces and parentheses."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def boot_id() -> str:
    """Another one after each reboot (proc_sys_kernel(5))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
