"""Who else can change, replace or read a file of ours, and what takes that away."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator

from deployctl.check.finding import Finding, advised, fail, warn
from deployctl.errors import ConfigError
from deployctl.system.trust import is_private_group, require_trust


def changeable(check: str, path: str) -> Iterator[Finding]:
    """Nothing where nobody else writes to a file that deployctl itself does not read."""
    try:
        require_trust(path, path, os.stat(path))
    except ConfigError as error:
        yield fail(check, *advised(str(error)))


def readable(check: str, path: str) -> Iterator[Finding]:
    """Nothing where a file that holds a secret is read by nobody else."""
    status = os.stat(path)
    mode = stat.S_IMODE(status.st_mode)
    # Of a file that somebody else gave us to read, the group is how we read it.
    ours = status.st_uid == os.geteuid()
    by_group = stat.S_IRGRP if ours and not is_private_group(status) else 0
    if mode & (stat.S_IROTH | by_group):
        take = "go-r" if ours else "o-r"
        what = f"{path} holds a secret and can be read by other accounts (mode {mode:04o})"
        yield warn(check, what, f"chmod {take} {shlex.quote(os.path.realpath(path))}")


def replaceable(check: str, path: str) -> Iterator[Finding]:
    """Whether anybody may put another file in the place of this one, or of what it links to."""
    for place in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
        directory = os.path.dirname(place)
        mode = stat.S_IMODE(os.stat(directory).st_mode)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            what = f"everybody can replace what is in {directory} (mode {mode:04o})"
            yield fail(check, what, f"chmod o-w {shlex.quote(directory)}")
