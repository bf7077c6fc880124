"""Find files that other accounts can change, replace or read, and the commands that end that."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator

from deployctl.check.finding import Finding, fail, split_advice, warn
from deployctl.errors import ConfigError
from deployctl.system.trust import is_private_group, require_unchangeable_by_others


def changeable_by_others(check: str, path: str) -> Iterator[Finding]:
    """Report a file that other accounts can write to; ``check`` is the name for the finding.

    This is for files that other programs read: what deployctl itself reads is checked when it is
    read. OSError where there is no such file.
    """
    try:
        require_unchangeable_by_others(path, path, os.stat(path))
    except ConfigError as error:
        yield fail(check, *split_advice(str(error)))


def readable_by_others(check: str, path: str) -> Iterator[Finding]:
    """Report a file with a secret that other accounts can read.

    The group may read a file of another account, such as root: that is how this account reads it.
    OSError where there is no such file.
    """
    status = os.stat(path)
    mode = stat.S_IMODE(status.st_mode)
    is_own = status.st_uid == os.geteuid()
    by_group = stat.S_IRGRP if is_own and not is_private_group(status) else 0
    if mode & (stat.S_IROTH | by_group):
        change = "go-r" if is_own else "o-r"
        what = f"{path} holds a secret and can be read by other accounts (mode {mode:04o})"
        yield warn(check, what, f"chmod {change} {shlex.quote(os.path.realpath(path))}")


def replaceable_by_others(check: str, path: str) -> Iterator[Finding]:
    """Report a directory in which every account can replace a file, or the one that it links to.

    That is a directory that everybody may write to, without the sticky bit of /tmp (chmod(1)).
    OSError where the directory does not exist.
    """
    for file in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
        directory = os.path.dirname(file)
        mode = stat.S_IMODE(os.stat(directory).st_mode)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            what = f"everybody can replace what is in {directory} (mode {mode:04o})"
            yield fail(check, what, f"chmod o-w {shlex.quote(directory)}")
