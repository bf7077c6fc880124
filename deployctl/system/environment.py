"""Build the environment variables of every command that deployctl starts.

They are built from nothing: no variable of the calling process is passed on. So a step behaves the
same whether a shell, cron, ssh or the web server started deployctl.
"""

from __future__ import annotations

import os
import pwd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The files in which systems keep LANG, LC_* and TZ: pam_env(8), locale.conf(5), Debian's locale(5).
LOCALE_FILES = ("/etc/environment", "/etc/locale.conf", "/etc/default/locale")


class Account:
    """The account that this process runs as, as the passwd database has it."""

    __slots__ = ("home", "shell", "uid", "user")

    def __init__(self, user: str, home: str, shell: str, uid: int) -> None:
        self.user = user
        self.home = home
        self.shell = shell
        self.uid = uid


def current_account() -> Account:
    """Return the account of the effective uid.

    Without a passwd entry, as in some containers, its name is the uid and its home ``/``.
    """
    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), "/", "/bin/sh", uid)
    return Account(entry.pw_name, entry.pw_dir or "/", entry.pw_shell or "/bin/sh", uid)


def system_locale(files: Iterable[str] = LOCALE_FILES) -> dict[str, str]:
    """Return LANG, LANGUAGE, LC_* and TZ as the system's files set them.

    A later file overrides an earlier one. LANG is C.UTF-8 if no file sets it.
    """
    found = {"LANG": "C.UTF-8"}
    for path in files:
        found.update(
            (name, value) for name, value in _assignments(path) if _is_locale(name) and value
        )
    return found


def base_environment() -> dict[str, str]:
    """Return HOME, USER, LOGNAME, SHELL, PATH and the locale, for the worker, git and steps."""
    current = current_account()
    return {
        "HOME": current.home,
        "USER": current.user,
        "LOGNAME": current.user,
        "SHELL": current.shell,
        "PATH": PATH,
        **system_locale(),
    }


def step_environment(
    configured: Mapping[str, str], secrets: Mapping[str, str], facts: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a step.

    ``configured`` is ``env`` of the configuration, ``secrets`` are revealed values, ``facts`` the
    ``DEPLOYCTL_*`` variables. The configuration may set any variable, PATH and CI included, except
    those in ``facts``.
    """
    return {**base_environment(), "CI": "true", **configured, **secrets, **facts}


def _is_locale(name: str) -> bool:
    return name in ("LANG", "LANGUAGE", "TZ") or name.startswith("LC_")


def _assignments(path: str) -> list[tuple[str, str]]:
    """Return name and value of each ``[export] NAME=value`` line of a file, without quotes.

    The list is empty if the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    return [_assignment(line) for line in lines if "=" in line]


def _assignment(line: str) -> tuple[str, str]:
    name, _, value = line.strip().removeprefix("export ").partition("=")
    return name.strip(), value.strip().strip("\"'")
