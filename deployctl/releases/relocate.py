"""What was copied from one release to another and knows by name where it is.

A virtual environment of Python does: in the first lines of its scripts, in what activates it, in
pyvenv.cfg, and where a project is installed in it for development (``pip install -e``). Left as it
is, a copy would run the interpreter of the release that it came from, until that is removed.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import stat
from collections.abc import Callable, Iterator
from urllib.parse import quote

_LARGEST = 1024 * 1024  # bytes; a text that somebody starts or activates is none of these
_MARK = "pyvenv.cfg"
_TEXTS = (
    _MARK,
    "bin/*",
    *(
        f"lib/python*/site-packages/{name}"
        for name in ("*.pth", "*.egg-link", "__editable__*", "*.dist-info/direct_url.json")
    ),
)

_Rename = Callable[[bytes], bytes]


def relocate(tree: str, old: str, new: str) -> str | None:
    """Let the texts and links in a copied tree that name the old release name the new one.

    -> what is damaged in it, None where nothing is. No link is followed.
    """
    rename = _renaming(old, new)
    for place, directories, files in os.walk(tree, onerror=_raise):
        for name in (*directories, *files):
            _mend_link(os.path.join(place, name), rename)
        if _MARK in files:
            if not _has_python(place):
                return f"{os.path.join(place, 'bin/python')} leads nowhere"
            for path in _texts(place):
                _mend_text(path, rename)
    return None


def _renaming(old: str, new: str) -> _Rename:
    """Both as they are configured and as getcwd(3) has them, in a path and in a URL.

    A name that goes on is that of another release: ``17-3f2a9c1b7d20.2``.
    """
    pairs = [(old, new), (os.path.realpath(old), os.path.realpath(new))]
    pairs += [(quote(before), quote(after)) for before, after in pairs]
    names = {os.fsencode(before): os.fsencode(after) for before, after in pairs}
    either = b"|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pattern = re.compile(b"(" + either + rb")(?!\w|\.\d)")
    return lambda text: pattern.sub(lambda match: names[match[1]], text)


def _has_python(environment: str) -> bool:
    """The interpreter that it was made with may be gone from the machine."""
    return os.path.exists(os.path.join(environment, "bin", "python"))


def _texts(environment: str) -> Iterator[str]:
    for pattern in _TEXTS:
        for path in glob.glob(os.path.join(glob.escape(environment), pattern)):
            parent = os.path.dirname(os.path.relpath(path, environment))
            if _is_inside(environment, parent):
                yield path


def _is_inside(environment: str, parent: str) -> bool:
    """Whether no directory on the way is a link, as lib64 is one."""
    while parent:
        if os.path.islink(os.path.join(environment, parent)):
            return False
        parent = os.path.dirname(parent)
    return True


def _mend_link(path: str, rename: _Rename) -> None:
    try:
        target = os.readlink(os.fsencode(path))
    except OSError:  # as nearly always: it is no link
        return
    if (renamed := rename(target)) != target:
        os.unlink(path)
        os.symlink(renamed, os.fsencode(path))


def _mend_text(path: str, rename: _Rename) -> None:
    """A new file in the place of the old one: the old one may have a second name, or be closed."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
        return
    with open(path, "rb") as file:
        text = file.read()
    if (renamed := rename(text)) == text or b"\0" in text:
        return
    beside = f"{path}.deployctl"
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(renamed)
        with contextlib.suppress(PermissionError):
            os.fchown(fd, status.st_uid, status.st_gid)
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
    os.rename(beside, path)


def _raise(error: OSError) -> None:
    raise error
