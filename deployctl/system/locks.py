"""Locks between processes: flock(2) on files in ``locks/`` of the state directory.

They let one deployment of a repo run at a time, and at most ``max_running`` of all repos.

The kernel frees a flock when its process dies, however it dies, so no lock is ever stale. The files
are never deleted: after a deletion, one process could lock the old file and another one a new file
of the same name.
"""

from __future__ import annotations

import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class FileLock:
    """An exclusive flock on one file; started commands do not inherit it (``O_CLOEXEC``).

    In a ``with`` statement it waits until the lock is free.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; return True also if this object holds it already."""
        return self._fd is not None or self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _lock(self, operation: int) -> bool:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, operation)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Free the lock; do nothing if this object does not hold it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @property
    def fd(self) -> int | None:
        """The file descriptor that holds the lock; None if this object does not hold it.

        A program that inherits it holds the lock as well.
        """
        return self._fd

    def __enter__(self) -> FileLock:
        if self._fd is None:
            self._lock(fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def repo_lock(state_dir: str, repo: str) -> FileLock:
    """Return the lock of a repo, held by the process that runs or checks a deployment of it."""
    return FileLock(os.path.join(state_dir, "locks", f"repo-{repo}.lock"))


def step_note_path(state_dir: str, repo: str) -> str:
    """Return the path of the note about the step that the holder of the repo's lock runs."""
    return os.path.join(state_dir, "locks", f"repo-{repo}.step")


def is_repo_lock_held(state_dir: str, repo: str) -> bool:
    """Tell whether a process holds the repo's lock now.

    The only way to find out is to take the lock. The admission gate is held meanwhile, so that no
    deployment is refused the lock because of this question.
    """
    lock = repo_lock(state_dir, repo)
    with admission_gate(state_dir):
        is_held = not lock.acquire()
        lock.release()
    return is_held


def wake_lock(state_dir: str) -> FileLock:
    """Return the lock that is held from the decision to start a worker until it reads the queue."""
    return FileLock(os.path.join(state_dir, "locks", "wake.lock"))


def sender_lock(state_dir: str) -> FileLock:
    """Return the lock of the process that sends notices beside the queue."""
    return FileLock(os.path.join(state_dir, "locks", "sender.lock"))


def admission_gate(state_dir: str) -> FileLock:
    """Return the lock that a process holds while it tries to take a repo's lock and a slot."""
    return FileLock(os.path.join(state_dir, "locks", "turn.lock"))


def mirror_lock(state_dir: str, mirror: str) -> FileLock:
    """Return the lock of a mirror, held while fetching; repos with the same url share a mirror."""
    return FileLock(os.path.join(state_dir, "locks", f"mirror-{mirror}.lock"))


def mirror_holder_note_path(state_dir: str, mirror: str) -> str:
    """Return the path of the note about the process that holds a mirror's lock."""
    return os.path.join(state_dir, "locks", f"mirror-{mirror}.holder")


class Slot:
    """One of the ``max_running`` slots for deployments on this machine; each is a lock file."""

    def __init__(self, state_dir: str, max_running: int) -> None:
        self._locks = [
            FileLock(os.path.join(state_dir, "locks", f"slot-{number}.lock"))
            for number in range(max_running)
        ]
        self._held: FileLock | None = None

    def acquire(self) -> bool:
        """Take a free slot without waiting; return False if all of them are taken."""
        if self._held is None:
            self._held = next((lock for lock in self._locks if lock.acquire()), None)
        return self._held is not None

    def release(self) -> None:
        """Free the slot; do nothing if this object does not hold one."""
        if self._held is not None:
            self._held.release()
            self._held = None


def wait_for(
    ready: Callable[[], bool],
    *,
    pause: float = 0.05,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Call ``ready`` until it returns True, for as long as that takes.

    ``pause`` is the time in seconds until the second call. Each later pause is 1.5 times as long as
    the one before it, but at most 0.5 seconds.
    """
    while not ready():
        sleep(pause)
        pause = min(pause * 1.5, 0.5)
