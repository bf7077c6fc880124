"""Remove what a killed git process leaves behind: locks, half-written files, a damaged index."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence

from deployctl.git.command import git
from deployctl.system.process_tree import (
    Identity,
    boot_id,
    boot_time,
    identity,
    is_alive,
    start_time,
)

# Locks that git creates when deployctl works in a checkout. The lock of a ref can exist before the
# ref itself. Working trees that share a repository (git-worktree(1)) share all of these locks but
# index.lock and HEAD.lock.
_TREE_LOCKS = ("index.lock", "HEAD.lock")
_SHARED_LOCKS = ("refs/deployctl/**/*.lock",)
_REPOSITORY_LOCKS = ("packed-refs.lock", "shallow.lock", "config.lock", "objects/info/**/*.lock")

# A file's time comes from a clock of the kernel that is behind time(2) by up to a tick (CONFIG_HZ).
_COARSE_CLOCK = 0.02  # seconds

# Errors of git about an index that it cannot read, such as one that a power cut left empty.
_DAMAGED_INDEX = re.compile(r"index file|bad signature 0x|bad index version")

# Files that git writes under such a name and renames when they are whole, a pack that it keeps
# while it fetches, and private index files (below).
_HALF_WRITTEN_PREFIX = "tmp_"
_HALF_WRITTEN_SUFFIXES = (".keep", ".index")
# Directories whose files are named by people: a branch may be called tmp_x, or x.index.
_NAMED_BY_PEOPLE = ("refs", "logs")
_INDEX = re.compile(r"\.(\d+)-(\d+)\.index(?:\.lock)?", re.ASCII)


def locks_in(directory: str) -> Iterator[str]:
    """Yield every lock file of a repository, of refs, logs, index, config and objects.

    A ref is never among them: no part of its name may end in ``.lock`` (git-check-ref-format(1)).
    """
    for parent, _, names in os.walk(directory):
        yield from (os.path.join(parent, name) for name in names if name.endswith(".lock"))


def checkout_locks(git_dir: str, common_dir: str | None = None) -> list[str]:
    """Return the lock files that only deployctl, or git in this working tree, can have created.

    ``git_dir`` is the git directory of the working tree, ``common_dir`` the repository that it
    shares with others (git-worktree(1)); None if it is the same directory.
    """
    patterns = [(git_dir, _TREE_LOCKS), (common_dir or git_dir, _SHARED_LOCKS)]
    if common_dir in (None, git_dir) and not os.path.isdir(os.path.join(git_dir, "worktrees")):
        patterns.append((git_dir, _REPOSITORY_LOCKS))
    return [
        lock
        for directory, names in patterns
        for name in names
        for lock in glob.iglob(os.path.join(glob.escape(directory), name), recursive=True)
    ]


def old_locks(git_dir: str) -> list[str]:
    """Return all lock files below a git directory that a dead process must have left.

    A process of deployctl works in a checkout only while it holds the repo's lock file, so a lock
    that is older than this process is left by a dead one. Where other working trees share the
    repository (git-worktree(1)), git may be running in them: only locks that are older than the
    start of the machine are returned, and none of those trees' own.
    """
    worktrees = os.path.join(git_dir, "worktrees", "")
    oldest = boot_time() if os.path.isdir(worktrees) else start_time()
    locks = (lock for lock in locks_in(git_dir) if not lock.startswith(worktrees))
    return [lock for lock in locks if _modified(lock) < oldest]


def _modified(path: str) -> float:
    """Return when the file was changed last, in seconds since the epoch; now if it is gone."""
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return time.time()


def remove_stale_locks(path: str, git_dirs: Sequence[str]) -> bool:
    """Remove the stale locks of the checkout ``path``, unless a git process is running in it.

    ``git_dirs`` are the arguments of :func:`checkout_locks`. Tell whether any were removed.
    """
    locks = {*checkout_locks(*git_dirs), *old_locks(git_dirs[0])}
    if not locks or is_in_use(path):
        return False
    remove(locks)
    return True


def remove_locks_of_killed_git(path: str, git_dir: str, began: float) -> None:
    """Remove the locks that a git process has left in the checkout ``path`` when it was killed.

    This process started it at ``began`` (seconds since the epoch). Nothing is removed while another
    git is running in the checkout, or where other working trees share its repository: git may have
    created the lock there.
    """
    if not os.path.isdir(os.path.join(git_dir, "worktrees")) and not is_in_use(path):
        since = began - _COARSE_CLOCK
        remove(lock for lock in locks_in(git_dir) if _modified(lock) > since)


def is_repairable(error_output: str) -> bool:
    """Tell whether git failed because of something that :func:`repair` may remove."""
    return "File exists" in error_output or _DAMAGED_INDEX.search(error_output) is not None


def repair(path: str, git_dirs: Sequence[str], error_output: str) -> bool:
    """Remove the stale lock that git complained of, or rebuild the damaged index from HEAD.

    ``git_dirs`` are the arguments of :func:`checkout_locks`. Tell whether something was repaired;
    nothing is while a git process is running in the checkout ``path``.
    """
    if "File exists" in error_output:
        return remove_stale_locks(path, git_dirs)
    if is_in_use(path):
        return False
    remove([os.path.join(git_dirs[0], "index")])
    git(
        [f"--git-dir={git_dirs[0]}", "read-tree", "HEAD"],
        what=f"cannot make the index of {path} anew",
        umask=0o022,
    )
    return True


def private_index(directory: str, name: str) -> str:
    """Return a path for an index file that only this process uses: the name has its identity."""
    process = identity()
    return os.path.join(directory, f"{name}.{process.pid}-{process.started}.index")


def remove_leftovers(directory: str) -> None:
    """Remove locks and half-written files from a repository that no git process fetches into.

    Private index files (:func:`private_index`) of other living processes are kept.
    """
    paths = [*locks_in(directory), *_half_written_in(directory)]
    remove(path for path in paths if not _is_index_of_other_process(path))


def _half_written_in(directory: str) -> Iterator[str]:
    """Yield the files of a repository that git has not finished, but for its locks."""
    for parent, directories, names in os.walk(directory):
        if parent == directory:
            directories[:] = [name for name in directories if name not in _NAMED_BY_PEOPLE]
        for name in names:
            if name.startswith(_HALF_WRITTEN_PREFIX) or name.endswith(_HALF_WRITTEN_SUFFIXES):
                yield os.path.join(parent, name)


def remove_index(path: str) -> None:
    """Remove an index file (``GIT_INDEX_FILE``), and the lock that a killed git left of it."""
    remove([path, f"{path}.lock"])


def remove(paths: Iterable[str]) -> None:
    """Remove files; ignore those that do not exist."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _is_index_of_other_process(path: str) -> bool:
    """Tell whether the path is a private index of another process that is alive.

    A private index of this process is a leftover: it was not removed after its use.
    """
    match = _INDEX.search(path)
    process = Identity(int(match[1]), int(match[2]), boot_id()) if match else None
    return process is not None and process != identity() and is_alive(process)


def is_in_use(path: str) -> bool:
    """Tell whether a git process has the directory, or one below it, as its current directory.

    Processes of other accounts, which /proc does not show in full, are not counted.
    """
    inside = os.path.join(os.path.realpath(path), "")
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            name = os.path.basename(os.readlink(f"/proc/{process}/exe"))
            if name == "git" and f"{os.readlink(f'/proc/{process}/cwd')}/".startswith(inside):
                return True
    return False
