"""Find untracked files in a working tree that the files of a commit would overwrite."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator


def find_obstacles(root: str, commit_files: Iterable[str], tracked: Collection[str]) -> list[str]:
    """Return the untracked files, symlinks and directories that ``commit_files`` would replace.

    All names are relative to ``root``, and the result is sorted. A file where the commit has a
    directory is an obstacle, and so is a directory where the commit has a file. Where the commit
    has a directory and the working tree a symlink, the symlink is the obstacle, not the files
    behind it.
    """
    checked_parents: dict[str, bool] = {}
    found = {_obstacle(root, name, checked_parents) for name in commit_files}
    return sorted(
        name
        for name in filter(None, found)
        if name not in tracked or _is_directory(os.path.join(root, name))
    )


def _obstacle(root: str, name: str, checked_parents: dict[str, bool]) -> str | None:
    """Return the first parent of ``name`` that is not a directory, else ``name`` if it exists.

    ``checked_parents`` caches for every parent whether it exists and is not a directory.
    """
    for parent in _parents(name):
        if parent not in checked_parents:
            path = os.path.join(root, parent)
            checked_parents[parent] = os.path.lexists(path) and not _is_directory(path)
        if checked_parents[parent]:
            return parent
    return name if os.path.lexists(os.path.join(root, name)) else None


def _parents(name: str) -> Iterator[str]:
    """Yield the parent directories of a name: for ``a/b/c`` these are ``a`` and ``a/b``."""
    slash = name.find("/")
    while slash >= 0:
        yield name[:slash]
        slash = name.find("/", slash + 1)


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def remove_partial_checkout(path: str, names: Iterable[str]) -> None:
    """Remove the files that an interrupted checkout has written to the working tree ``path``.

    After a checkout that failed on a full disk, its files are in no index yet, so git would not
    remove them. The files that were there before are overwritten by then, and have been saved.
    """
    root = os.path.realpath(path)
    for name in names:
        file = os.path.join(root, name)
        directory = os.path.dirname(file)
        if os.path.realpath(directory) != directory:  # behind a symlink: not of this checkout
            continue
        with contextlib.suppress(OSError):
            os.unlink(file)
        with contextlib.suppress(OSError):  # remove the directory too, once it is empty
            if directory != root:
                os.removedirs(directory)
