"""Correct the absolute paths in files that were copied from one release to another.

A virtual environment of Python contains such paths: in the first lines of its scripts, in the
scripts that activate it, in pyvenv.cfg, and where a project is installed in it for development
(``pip install -e``). Without the correction a copy would run the interpreter of the release that it
was copied from, until that release is removed.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import stat
from collections.abc import Callable, Iterator
from urllib.parse import quote

_MAX_SIZE = 1024 * 1024  # bytes; scripts that are started or sourced are smaller
_VENV_FILE = "pyvenv.cfg"  # a directory that has it is a virtual environment
_VENV_TEXTS = (
    _VENV_FILE,
    "bin/*",
    *(
        f"lib/python*/site-packages/{name}"
        for name in ("*.pth", "*.egg-link", "__editable__*", "*.dist-info/direct_url.json")
    ),
)

_ReplacePath = Callable[[bytes], bytes]


def relocate(tree: str, old: str, new: str) -> str | None:
    """Replace the path of the release ``old`` by that of ``new`` in a tree that was copied.

    All symlinks in the tree are corrected, and the texts of its virtual environments. Return what
    is damaged in the tree, in words, or None. No symlink is followed. OSError where a file cannot
    be read or written.
    """
    replace_path = _path_replacer(old, new)
    for directory, subdirectories, files in os.walk(tree, onerror=_raise):
        for name in (*subdirectories, *files):
            _correct_link(os.path.join(directory, name), replace_path)
        if _VENV_FILE in files:
            if not _has_python(directory):
                return f"{os.path.join(directory, 'bin/python')} leads nowhere"
            for path in _venv_texts(directory):
                _correct_text(path, replace_path)
    return None


def _path_replacer(old: str, new: str) -> _ReplacePath:
    """Return a function that replaces ``old`` by ``new`` in a text, in paths and in URLs.

    Both are looked for as configured and as getcwd(3) returns them, with symlinks resolved. A
    longer name is that of another release and stays: ``17-3f2a9c1b7d20.2``.
    """
    pairs = [(old, new), (os.path.realpath(old), os.path.realpath(new))]
    pairs += [(quote(before), quote(after)) for before, after in pairs]
    names = {os.fsencode(before): os.fsencode(after) for before, after in pairs}
    either = b"|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pattern = re.compile(b"(" + either + rb")(?!\w|\.\d)")
    return lambda text: pattern.sub(lambda match: names[match[1]], text)


def _has_python(environment: str) -> bool:
    """Tell whether its interpreter exists: it may have been removed from the machine."""
    return os.path.exists(os.path.join(environment, "bin", "python"))


def _venv_texts(environment: str) -> Iterator[str]:
    for pattern in _VENV_TEXTS:
        for path in glob.glob(os.path.join(glob.escape(environment), pattern)):
            parent = os.path.dirname(os.path.relpath(path, environment))
            if _is_inside(environment, parent):
                yield path


def _is_inside(environment: str, parent: str) -> bool:
    """Tell whether no directory on the path to ``parent`` is a symlink, as lib64 is one."""
    while parent:
        if os.path.islink(os.path.join(environment, parent)):
            return False
        parent = os.path.dirname(parent)
    return True


def _correct_link(path: str, replace_path: _ReplacePath) -> None:
    try:
        target = os.readlink(os.fsencode(path))
    except OSError:  # the usual case: it is no symlink
        return
    if (corrected := replace_path(target)) != target:
        os.unlink(path)
        os.symlink(corrected, os.fsencode(path))


def _correct_text(path: str, replace_path: _ReplacePath) -> None:
    """Correct a text by replacing its file.

    The old file is not written to: it may have several hard links, or be read-only.
    """
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_SIZE:
        return
    with open(path, "rb") as file:
        text = file.read()
    if (corrected := replace_path(text)) == text or b"\0" in text:
        return
    temporary = f"{path}.deployctl"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(corrected)
        with contextlib.suppress(PermissionError):
            os.fchown(fd, status.st_uid, status.st_gid)
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
    os.rename(temporary, path)
    _remove_bytecode(path)


def _remove_bytecode(path: str) -> None:
    """Remove what Python compiled from a file, as it would run that in place of the new text.

    It compares only the size and the second of the last change, or nothing at all (PEP 552).
    """
    directory, name = os.path.split(path)
    stem, extension = os.path.splitext(name)
    if extension == ".py":
        compiled = os.path.join(directory, "__pycache__", stem)
        for bytecode in glob.glob(f"{glob.escape(compiled)}.*.pyc"):
            os.unlink(bytecode)


def _raise(error: OSError) -> None:
    raise error
