"""Identify a process, and find, signal and end all processes of a command (Linux >= 5.3).

Every process of a command inherits the environment variable ``DEPLOYCTL_RUN``, also if it leaves
the command's session and process group. Its value is called the marker. A marker may have parts, as
in ``run/build/step``; then ``run`` and ``run/build`` stand for every marker that begins with them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MARKER = "DEPLOYCTL_RUN"

_NO_SUCH_PROCESS = (FileNotFoundError, ProcessLookupError)
_STATE, _GROUP, _STARTED = 0, 2, 19  # proc_pid_stat(5): fields 3, 5, 22; field 3 is number 0
_ENDED_STATES = (b"Z", b"X")  # zombie, dead
_KILL_TIMEOUT = 5.0  # seconds; a process that SIGKILL has not ended by then hangs in the kernel
_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Identity:
    """A process: its pid may be reused later, but never with the same start time and boot.

    ``started`` is the start time in clock ticks since the boot that ``boot_id`` names.
    """

    pid: int
    started: int
    boot_id: str


def identity(pid: int | None = None) -> Identity:
    """Return the identity of a process, by default of this one.

    Raise :class:`ProcessLookupError` if it does not exist.
    """
    number = os.getpid() if pid is None else pid
    try:
        return Identity(number, int(_stat(number)[_STARTED]), boot_id())
    except FileNotFoundError:
        raise ProcessLookupError(f"no process {number}") from None


def boot_time() -> float:
    """Return when the machine was started, in seconds since the epoch.

    It is counted back from now by the clock that also goes on while the machine sleeps.
    """
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def start_time() -> float:
    """Return when this process started, in seconds since the epoch; at most a clock tick too late.

    The kernel counts the start in whole clock ticks since the boot (proc_pid_stat(5), field 22).
    Rounded up, so that a file that was written before the start is never taken for a later one.
    """
    return boot_time() + (identity().started + 1) / os.sysconf("SC_CLK_TCK")


def is_alive(identity: Identity) -> bool:
    """Tell whether exactly this process still runs; a zombie does not."""
    if identity.boot_id != boot_id():
        return False
    try:
        fields = _stat(identity.pid)
    except _NO_SUCH_PROCESS:
        return False
    return int(fields[_STARTED]) == identity.started and fields[_STATE] not in _ENDED_STATES


def send_signal(identity: Identity, signum: int) -> bool:
    """Send a signal to exactly this process; return False if it no longer runs.

    Raise :class:`PermissionError` if it belongs to another account. The pidfd is opened before the
    identity is checked: it refers to one process even if the pid is reused (pidfd_open(2)).
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
    """Signal every process with the marker, except this one; return their pids.

    Signal 0 only finds them. Processes of another account (sudo) and those that overwrote their
    environment cannot be found.
    """
    signalled = set()
    for pid in _pids():
        with contextlib.suppress(*_NO_SUCH_PROCESS, PermissionError), _pidfd(pid) as pidfd:
            if _has_marker(pid, marker):
                signal.pidfd_send_signal(pidfd, signum)
                signalled.add(pid)
    return signalled


def end_marked(marker: str) -> int:
    """Kill every process with the marker, also those forked meanwhile; return how many.

    Then wait until they have ended, for at most 5 seconds in all. Their markers alone do not show
    that: a killed process loses its environment before its files are closed.
    """
    ended: set[int] = set()
    until = time.monotonic() + _KILL_TIMEOUT
    while signalled := signal_marked(marker, signal.SIGKILL):
        ended |= signalled
        if time.monotonic() > until:
            break
        time.sleep(_POLL_SECONDS)
    _wait_until(lambda: not any(map(_is_running, ended)), until)
    return len(ended)


def signal_group(leader: int, signum: int) -> None:
    """Send a signal to the process group of a leader that has not been waited for.

    Until the leader is waited for (reaped), the id of its group cannot be reused.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signum)


def end_group(leader: int) -> None:
    """Kill the process group of a leader that has not been waited for.

    Then wait until all its processes have ended, for at most 5 seconds.
    """
    signal_group(leader, signal.SIGKILL)
    until = time.monotonic() + _KILL_TIMEOUT
    _wait_until(lambda: not any(_is_running(pid, leader) for pid in _pids()), until)


def _wait_until(condition: Callable[[], bool], until: float) -> None:
    while not condition() and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)


def _is_running(pid: int, group: int | None = None) -> bool:
    """Tell whether a process runs and, if a group is given, belongs to it."""
    try:
        fields = _stat(pid)
    except _NO_SUCH_PROCESS:
        return False
    return fields[_STATE] not in _ENDED_STATES and (group is None or int(fields[_GROUP]) == group)


def _pids() -> list[int]:
    return [
        int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()
    ]


def _has_marker(pid: int, marker: str) -> bool:
    prefix = f"{MARKER}={marker}/".encode()
    with open(f"/proc/{pid}/environ", "rb") as file:
        return any((entry + b"/").startswith(prefix) for entry in file.read().split(b"\0"))


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def _stat(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the third one on, the state of the process.

    The second one, the name, may contain spaces and parentheses.
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def boot_id() -> str:
    """Return the id of the current boot, a new one after each reboot (proc_sys_kernel(5))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
