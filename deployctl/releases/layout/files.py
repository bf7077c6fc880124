"""Make, write, read, measure and remove files and directories of a release.

What is made is readable for a web server, and no symlink is followed when writing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys

_DIRECTORY_MODE = 0o755


def make_directory(path: str) -> bool:
    """Make a directory and its parents with mode 0755, whatever the umask is.

    Return whether it was made: False where it existed. NotADirectoryError where a file has the
    name; OSError where it cannot be made.
    """
    path = os.path.abspath(path)  # the last parent of a relative path is ''
    if os.path.isdir(path):
        return False
    make_directory(os.path.dirname(path))
    try:
        os.mkdir(path)
    except FileExistsError:
        if os.path.isdir(path):  # another process made it meanwhile
            return False
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
    os.chmod(path, _DIRECTORY_MODE)
    return True


def why_not_makeable(path: str) -> OSError | None:
    """Return the error that :func:`make_directory` would probably raise; None: it would succeed.

    ``path`` is absolute and does not exist. The nearest existing parent is looked at.
    """
    parent = path
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    number = 0
    if not os.path.isdir(parent):
        number = errno.ENOTDIR
    elif not os.access(parent, os.W_OK | os.X_OK):
        number = errno.EACCES
    return OSError(number, os.strerror(number), path) if number else None


def is_directory(path: str) -> bool:
    """Tell whether a path is a directory itself, not a symlink to one."""
    return os.path.isdir(path) and not os.path.islink(path)


def write_line(path: str, line: str) -> None:
    """Write a file of one line, mode 0644; an empty ``line`` makes an empty file.

    A file, directory or symlink of that name is removed first.
    """
    remove(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(f"{line}\n" if line else "")


def read_line(path: str) -> str | None:
    """Return the first line of a file; None where it cannot be read or the line is empty."""
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
        if os.path.lexists(path):  # another process removes files in it at the same time
            raise


def disk_usage(path: str) -> int:
    """Return the bytes that a tree takes on the disk, as du(1) counts them.

    No symlink is followed; a file with several hard links counts once.
    """
    total, seen = 0, set()
    for directory, subdirectories, files in os.walk(path):
        for name in (*subdirectories, *files):
            try:
                status = os.lstat(os.path.join(directory, name))
            except FileNotFoundError:  # the application writes and removes files in it
                continue
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
    return total


def _remove_tree(path: str) -> None:
    """Remove a directory, also where its owner may not write in it (the module cache of go)."""
    try:
        _remove_what_can_be_removed(path)
    except PermissionError:
        _make_writable(path)
        _remove_what_can_be_removed(path)


def _remove_what_can_be_removed(path: str) -> None:
    """Remove a directory as far as possible; then raise OSError for the first path that stayed.

    The exception that shutil.rmtree raises itself names the file before Python 3.13, and after
    that the directory around it.
    """
    failures: list[OSError] = []

    def keep(name: str, error: BaseException) -> None:
        if isinstance(error, OSError):
            failures.append(OSError(error.errno, error.strerror, name))

    if sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=lambda _, name, error: keep(name, error))
    else:
        shutil.rmtree(path, onerror=lambda _, name, info: keep(name, info[1]))
    if failures:
        raise failures[0]


def _make_writable(path: str) -> None:
    for directory, subdirectories, _ in os.walk(path):
        for name in ("", *subdirectories):
            subdirectory = os.path.join(directory, name)
            if not os.path.islink(subdirectory):
                with contextlib.suppress(PermissionError):
                    os.chmod(subdirectory, stat.S_IRWXU)
