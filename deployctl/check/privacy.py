"""Who else can change or read a file of ours, and what takes that away."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator

from deployctl.check.finding import Finding, fail, warn

_WRITE = stat.S_IWGRP | stat.S_IWOTH


def exposure(check: str, path: str, *, secret: bool) -> Iterator[Finding]:
    """Nothing where the file is private enough; ``secret``: others must not read it either."""
    status = os.stat(path)
    mode = stat.S_IMODE(status.st_mode)
    place = shlex.quote(path)
    if mode & _WRITE:
        take = "go-rw" if secret else "go-w"
        what = f"{path} can be changed by other accounts (mode {mode:04o})"
        yield fail(check, what, f"chmod {take} {place}")
    elif secret and mode & _readers(status):
        take = "go-r" if _readers(status) & stat.S_IRGRP else "o-r"
        what = f"{path} holds a secret and can be read by other accounts (mode {mode:04o})"
        yield warn(check, what, f"chmod {take} {place}")


def replaceable(check: str, path: str) -> Iterator[Finding]:
    """Whether anybody may put another file in the place of this one."""
    directory = os.path.dirname(path)
    mode = stat.S_IMODE(os.stat(directory).st_mode)
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        what = f"everybody can replace what is in {directory} (mode {mode:04o})"
        yield fail(check, what, f"chmod o-w {shlex.quote(directory)}")


def _readers(status: os.stat_result) -> int:
    """Of a file that somebody else gave us to read, the group is how we read it."""
    ours = status.st_uid == os.geteuid()
    return stat.S_IROTH | (stat.S_IRGRP if ours else 0)
