"""Files and directories of a release: readable for a web server, written beside links."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat

_DIRECTORY_MODE = 0o755


def make_directory(path: str) -> bool:
    """Make a directory and its parents, 0755 whatever the umask -> whether it was made."""
    path = os.path.abspath(path)  # the parents of a relative path end in ''
    if os.path.isdir(path):
        return False
    make_directory(os.path.dirname(path))
    try:
        os.mkdir(path)
    except FileExistsError:
        if os.path.isdir(path):  # somebody was faster
            return False
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
    os.chmod(path, _DIRECTORY_MODE)
    return True


def why_not_makeable(path: str) -> OSError | None:
    """The error that :func:`make_directory` would end with, as far as it can be told before."""
    place = path
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    number = 0
    if not os.path.isdir(place):
        number = errno.ENOTDIR
    elif not os.access(place, os.W_OK | os.X_OK):
        number = errno.EACCES
    return OSError(number, os.strerror(number), path) if number else None


def is_directory(path: str) -> bool:
    """A real one, not a symlink to one."""
    return os.path.isdir(path) and not os.path.islink(path)


def write_line(path: str, line: str) -> None:
    """A new file in the place of whatever has the name; a symlink is not followed."""
    remove(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(f"{line}\n" if line else "")


def read_line(path: str) -> str | None:
    """The first line; None where there is no such file or nothing in it."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip() or None
    except OSError:
        return None


def unlink(path: str) -> None:
    """Remove a file or a symlink, if it is there; never a directory."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)


def remove(path: str) -> None:
    """Remove a file, a symlink or a whole directory, if it is there."""
    if not is_directory(path):
        unlink(path)
        return
    try:
        _remove_tree(path)
    except FileNotFoundError:
        if os.path.lexists(path):  # something else removes files in there at the same time
            raise


def disk_usage(path: str) -> int:
    """The bytes that a tree takes on the disk, as du(1) counts: no link followed, none twice."""
    total, seen = 0, set()
    for place, directories, files in os.walk(path):
        for name in (*directories, *files):
            try:
                status = os.lstat(os.path.join(place, name))
            except FileNotFoundError:  # an application writes and removes files in there
                continue
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
    return total


def _remove_tree(path: str) -> None:
    """Tools leave directories that forbid their owner to write (the module cache of go)."""
    try:
        shutil.rmtree(path)
    except PermissionError:
        _make_writable(path)
        shutil.rmtree(path)


def _make_writable(path: str) -> None:
    for place, names, _ in os.walk(path):
        for name in ("", *names):
            directory = os.path.join(place, name)
            if not os.path.islink(directory):
                with contextlib.suppress(PermissionError):
                    os.chmod(directory, stat.S_IRWXU)
