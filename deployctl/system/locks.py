"""flock: one deployment of a repo at a time, so many of all repos at a time.

The kernel frees a flock when its process dies, however it dies, so nothing is ever stale. The
files are never deleted: removing one would let two processes hold "the" lock.
"""

from __future__ import annotations

import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class FileLock:
    """An exclusive lock on one file; not inherited by commands (``O_CLOEXEC``)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Take it now or not at all; True also where this object holds it already."""
        return self._fd is not None or self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _lock(self, how: int) -> bool:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @property
    def fd(self) -> int | None:
        """The file that holds it, to be handed to a program that is to hold it from now on."""
        return self._fd

    def __enter__(self) -> FileLock:
        """Wait until it is ours."""
        if self._fd is None:
            self._lock(fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def repo_lock(state_dir: str, repo: str) -> FileLock:
    """One deployment of a repo at a time."""
    return FileLock(os.path.join(state_dir, "locks", f"repo-{repo}.lock"))


def step_note(state_dir: str, repo: str) -> str:
    """The file in which the lock's holder writes down which step runs."""
    return os.path.join(state_dir, "locks", f"repo-{repo}.step")


def is_taken(state_dir: str, repo: str) -> bool:
    """Whether somebody has the repo's lock now; nobody is kept from it by being asked."""
    lock = repo_lock(state_dir, repo)
    with admission_gate(state_dir):
        taken = not lock.acquire()
        lock.release()
    return taken


def wake_lock(state_dir: str) -> FileLock:
    """Held from the decision to start a worker until that is about to look at the queue."""
    return FileLock(os.path.join(state_dir, "locks", "wake.lock"))


def admission_gate(state_dir: str) -> FileLock:
    """One process at a time looks for a turn."""
    return FileLock(os.path.join(state_dir, "locks", "turn.lock"))


def mirror_lock(state_dir: str, mirror: str) -> FileLock:
    """One fetch into a mirror at a time: repos with the same url share it."""
    return FileLock(os.path.join(state_dir, "locks", f"mirror-{mirror}.lock"))


def mirror_note(state_dir: str, mirror: str) -> str:
    """The file in which the holder of a mirror's lock says who it is."""
    return os.path.join(state_dir, "locks", f"mirror-{mirror}.holder")


class Slot:
    """One of ``max_running`` places for deployments on this machine."""

    def __init__(self, state_dir: str, max_running: int) -> None:
        self._places = [
            FileLock(os.path.join(state_dir, "locks", f"slot-{number}.lock"))
            for number in range(max_running)
        ]
        self._taken: FileLock | None = None

    def acquire(self) -> bool:
        """Take a free place now or none at all."""
        if self._taken is None:
            self._taken = next((place for place in self._places if place.acquire()), None)
        return self._taken is not None

    def release(self) -> None:
        if self._taken is not None:
            self._taken.release()
            self._taken = None


def wait_for(
    ready: Callable[[], bool],
    *,
    pause: float = 0.05,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Ask until the answer is yes, at first quickly, then twice a second."""
    while not ready():
        sleep(pause)
        pause = min(pause * 1.5, 0.5)
