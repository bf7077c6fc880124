"""Refuse files that decide what this account runs if another account can change them.

The webhook imports this module, so functions import the modules that only rare cases need.
"""

from __future__ import annotations

import os
import pwd
import stat

from deployctl.errors import ConfigError


def require_unchangeable_by_others(what: str, path: str, status: os.stat_result) -> None:
    """Raise :class:`ConfigError` if other accounts can change a file.

    ``what`` names the file at the beginning of the message, which ends with the command that
    mends it. ``status`` is that of the opened file: for a symlink, that of its target.
    """
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (0, os.geteuid()):
        file_account, me = account_name(status.st_uid), account_name(os.geteuid())
        problem = f"belongs to {file_account}, who is neither root nor this account, {me}"
        fix = f"sudo chown {me.removeprefix('#')}"
    elif mode & stat.S_IWOTH:
        problem, fix = f"can be changed by other accounts (mode {mode:04o})", "chmod go-w"
    elif mode & stat.S_IWGRP and not is_private_group(status):
        group = group_name(status.st_gid)
        problem, fix = f"can be changed by the group {group} (mode {mode:04o})", "chmod g-w"
    else:
        return
    from shlex import quote

    target = os.path.realpath(path)
    link = f" (a link to {target})" if os.path.islink(path) else ""
    raise ConfigError(f"{what}{link} {problem}: {fix} {quote(target)}")


def is_private_group(status: os.stat_result) -> bool:
    """Tell whether a file's group has no member but the account of the file, or this account.

    Many systems give each account a group of its own name, and files are writable for that group
    by default. Only such a group counts as private: the members of any other group are not fully
    known, because directories of users, such as LDAP, need not list all accounts.
    """
    return any(_is_only_member(uid, status.st_gid) for uid in {status.st_uid, os.geteuid()})


def _is_only_member(uid: int, gid: int) -> bool:
    from grp import getgrgid

    try:
        account, group = pwd.getpwuid(uid), getgrgid(gid)
    except KeyError:
        return False
    members = {entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == gid}
    is_own_group = account.pw_gid == gid and group.gr_name == account.pw_name
    return is_own_group and {*members, *group.gr_mem} <= {account.pw_name}


def belongs_to_this_account(path: str) -> bool:
    """Tell whether a path exists and belongs to this account.

    Root must write nothing into a directory of another account: that account could not change it.
    """
    try:
        return os.stat(path).st_uid == os.geteuid()
    except OSError:
        return False


def account_name(uid: int) -> str:
    """Return an account as ``sudo -u`` takes it: its name, or ``#1001`` if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def group_name(gid: int) -> str:
    """Return the name of a group, or ``#1001`` if it has none."""
    from grp import getgrgid

    try:
        return getgrgid(gid).gr_name
    except KeyError:
        return f"#{gid}"
