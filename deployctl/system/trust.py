"""Whether a file that decides what this account runs is in nobody else's hands.

This module is on the webhook's way: what a rare case takes is imported there.
"""

from __future__ import annotations

import os
import pwd
import stat

from deployctl.errors import ConfigError


def require_trust(what: str, path: str, status: os.stat_result) -> None:
    """:class:`ConfigError` where others can change an open file, with the command that ends that.

    ``status`` is that of the file itself: of a symlink it is the target that counts. ``what``
    begins the sentence.
    """
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (0, os.geteuid()):
        owner, me = account_name(status.st_uid), account_name(os.geteuid())
        fault = f"belongs to {owner}, who is neither root nor this account, {me}"
        mend = f"sudo chown {me.removeprefix('#')}"
    elif mode & stat.S_IWOTH:
        fault, mend = f"can be changed by other accounts (mode {mode:04o})", "chmod go-w"
    elif mode & stat.S_IWGRP and not is_private_group(status):
        group = group_name(status.st_gid)
        fault, mend = f"can be changed by the group {group} (mode {mode:04o})", "chmod g-w"
    else:
        return
    from shlex import quote

    place = os.path.realpath(path)
    link = f" (a link to {place})" if os.path.islink(path) else ""
    raise ConfigError(f"{what}{link} {fault}: {mend} {quote(place)}")


def is_private_group(status: os.stat_result) -> bool:
    """Whether nobody is in a file's group but the owner, or this account.

    Where each account has a group of its own name, what it makes is writable for that by default.
    Of any other group nobody can tell who is in it: directories of users need not be listed.
    """
    return any(_is_alone(uid, status.st_gid) for uid in {status.st_uid, os.geteuid()})


def _is_alone(uid: int, gid: int) -> bool:
    from grp import getgrgid

    try:
        account, group = pwd.getpwuid(uid), getgrgid(gid)
    except KeyError:
        return False
    members = {each.pw_name for each in pwd.getpwall() if each.pw_gid == gid}
    is_own = account.pw_gid == gid and group.gr_name == account.pw_name
    return is_own and {*members, *group.gr_mem} <= {account.pw_name}


def is_own(path: str) -> bool:
    """Whether it is there and this account's: what root writes elsewhere locks the owner out."""
    try:
        return os.stat(path).st_uid == os.geteuid()
    except OSError:
        return False


def account_name(uid: int) -> str:
    """As ``sudo -u`` takes it: by name, or ``#1001`` where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def group_name(gid: int) -> str:
    from grp import getgrgid

    try:
        return getgrgid(gid).gr_name
    except KeyError:
        return f"#{gid}"
