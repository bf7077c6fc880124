"""What a git that was killed leaves behind: its locks, and files that were half written."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence

from deployctl.git.command import git
from deployctl.system.process_tree import Identity, boot_id, identity, is_alive

# Those that we make, or let git make; a ref's is on the disk before the ref is. Working trees that
# share a repository (git-worktree(1)) share all but the first two.
_LOCKS = ("index.lock", "HEAD.lock")
_SHARED_LOCKS = ("refs/deployctl/**/*.lock",)
_WHOLE_LOCKS = ("packed-refs.lock", "shallow.lock", "config.lock", "objects/info/**/*.lock")

# git's words for an index that it cannot read, such as one that a power cut left empty.
_DAMAGED_INDEX = re.compile(r"index file|bad signature 0x|bad index version")

_HALF_WRITTEN = (
    *("objects/pack/tmp_*", "objects/pack/*.keep", "objects/??/tmp_*", "*.index", ".*.index"),
)
_INDEX = re.compile(r"\.(\d+)-(\d+)\.index(?:\.lock)?", re.ASCII)


def locks_in(directory: str) -> Iterator[str]:
    """Every lock file of a repository, whatever it locks: refs, logs, index, config, objects.

    No ref is mistaken for one: no part of its name may end like that (git-check-ref-format(1)).
    """
    for place, _, names in os.walk(directory):
        yield from (os.path.join(place, name) for name in names if name.endswith(".lock"))


def our_locks(own: str, shared: str | None = None) -> list[str]:
    """The locks of a checkout that stand in nobody's way but ours.

    ``shared`` is the repository where it is not the working tree's ``own``.
    """
    patterns = [(own, _LOCKS), (shared or own, _SHARED_LOCKS)]
    if shared in (None, own) and not os.path.isdir(os.path.join(own, "worktrees")):
        patterns.append((own, _WHOLE_LOCKS))
    return [
        lock
        for place, names in patterns
        for name in names
        for lock in glob.iglob(os.path.join(glob.escape(place), name), recursive=True)
    ]


def remove_stale_locks(path: str, places: Sequence[str]) -> bool:
    """From a checkout that no git works in -> whether there were any; see :func:`our_locks`."""
    found = our_locks(*places)
    if not found or is_worked_in(path):
        return False
    remove(found)
    return True


def is_mendable(said: str) -> bool:
    """Whether git complained of something that :func:`mended` may get out of the way."""
    return "File exists" in said or _DAMAGED_INDEX.search(said) is not None


def mended(path: str, places: Sequence[str], said: str) -> bool:
    """Get out of the way what git complained of, a dead git's lock or a damaged index -> whether.

    ``places`` are the directories of :func:`our_locks`. An index can be made anew from HEAD.
    """
    if "File exists" in said:
        return remove_stale_locks(path, places)
    if is_worked_in(path):
        return False
    remove([os.path.join(places[0], "index")])
    git(
        [f"--git-dir={places[0]}", "read-tree", "HEAD"],
        what=f"cannot make the index of {path} anew",
        umask=0o022,
    )
    return True


def own_index(directory: str, name: str) -> str:
    """An index file that is this process's alone, of a name that tells so."""
    me = identity()
    return os.path.join(directory, f"{name}.{me.pid}-{me.started}.index")


def remove_leftovers(directory: str) -> None:
    """From a repository that no git writes to now; who has an index of its own there keeps it."""
    here = glob.escape(directory)
    half_written = (name for each in _HALF_WRITTEN for name in glob.iglob(f"{here}/{each}"))
    names = [*locks_in(directory), *half_written]
    remove(name for name in names if not _is_used(name))


def remove_index(path: str) -> None:
    """Remove an index file of our own (``GIT_INDEX_FILE``), and the lock of a git that died."""
    remove([path, f"{path}.lock"])


def remove(names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _is_used(name: str) -> bool:
    """By another process: one of our own is only still there where it could not be removed."""
    found = _INDEX.search(name)
    owner = Identity(int(found[1]), int(found[2]), boot_id()) if found else None
    return owner is not None and owner != identity() and is_alive(owner)


def is_worked_in(path: str) -> bool:
    """Whether a process called git, one that we may look at, is in the directory or below it."""
    inside = os.path.join(os.path.realpath(path), "")
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            name = os.path.basename(os.readlink(f"/proc/{process}/exe"))
            if name == "git" and f"{os.readlink(f'/proc/{process}/cwd')}/".startswith(inside):
                return True
    return False
