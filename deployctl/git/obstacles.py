"""What stands in a working tree where a commit is about to put its files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator


def obstacles(root: str, wanted: Iterable[str], tracked: Collection[str]) -> list[str]:
    """The untracked files, symlinks and directories that the wanted files would replace.

    All names are relative to ``root``. A file where a directory is wanted is in the way as much as
    a directory where a file is; what lies behind a symlink is not, the symlink itself is.
    """
    seen: dict[str, bool] = {}
    found = {_obstacle(root, name, seen) for name in wanted}
    return sorted(
        name
        for name in filter(None, found)
        if name not in tracked or _is_directory(os.path.join(root, name))
    )


def _obstacle(root: str, name: str, seen: dict[str, bool]) -> str | None:
    """The first part of the way to ``name`` that is no directory, else what has the name."""
    for parent in _parents(name):
        if parent not in seen:
            place = os.path.join(root, parent)
            seen[parent] = os.path.lexists(place) and not _is_directory(place)
        if seen[parent]:
            return parent
    return name if os.path.lexists(os.path.join(root, name)) else None


def _parents(name: str) -> Iterator[str]:
    """``a/b/c`` -> ``a``, ``a/b``."""
    slash = name.find("/")
    while slash >= 0:
        yield name[:slash]
        slash = name.find("/", slash + 1)


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def take_back(path: str, names: Iterable[str]) -> None:
    """Remove what a checkout wrote that a full disk cut short: it is in no index yet.

    What stood there before was overwritten, and has been saved.
    """
    root = os.path.realpath(path)
    for name in names:
        place = os.path.join(root, name)
        directory = os.path.dirname(place)
        if os.path.realpath(directory) != directory:  # behind a symlink: not of this checkout
            continue
        with contextlib.suppress(OSError):
            os.unlink(place)
        with contextlib.suppress(OSError):  # the last one takes the directory along
            if directory != root:
                os.removedirs(directory)
