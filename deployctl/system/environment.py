"""The environment of everything we start: built from nothing, so that a step behaves the same
from a shell, cron, ssh and the web server. Nothing of the caller's own environment gets in.
"""

from __future__ import annotations

import os
import pwd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Where systems keep LANG, LC_* and TZ: pam_env(8), locale.conf(5), Debian's locale(5).
LOCALE_FILES = ("/etc/environment", "/etc/locale.conf", "/etc/default/locale")


class Account:
    """The account we run as, as the passwd database has it."""

    __slots__ = ("home", "shell", "uid", "user")

    def __init__(self, user: str, home: str, shell: str, uid: int) -> None:
        self.user = user
        self.home = home
        self.shell = shell
        self.uid = uid


def account() -> Account:
    """The account of the effective uid; one without an entry (containers) lives in ``/``."""
    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(str(uid), "/", "/bin/sh", uid)
    return Account(entry.pw_name, entry.pw_dir or "/", entry.pw_shell or "/bin/sh", uid)


def system_locale(files: Iterable[str] = LOCALE_FILES) -> dict[str, str]:
    """LANG, LANGUAGE, LC_* and TZ as the files set them, a later file first; LANG: C.UTF-8."""
    found = {"LANG": "C.UTF-8"}
    for path in files:
        found.update(
            (name, value) for name, value in _assignments(path) if _is_locale(name) and value
        )
    return found


def base_environment() -> dict[str, str]:
    """HOME, USER, LOGNAME, SHELL, PATH and the locale: for the worker, git and steps alike."""
    who = account()
    return {
        "HOME": who.home,
        "USER": who.user,
        "LOGNAME": who.user,
        "SHELL": who.shell,
        "PATH": PATH,
        **system_locale(),
    }


def step_environment(
    configured: Mapping[str, str], secrets: Mapping[str, str], facts: Mapping[str, str]
) -> dict[str, str]:
    """What a step sees. ``secrets`` are revealed values, ``facts`` the ``DEPLOYCTL_*`` variables.

    Configuration may change any variable, PATH and CI too, but not what deployctl says of itself.
    """
    return {**base_environment(), "CI": "true", **configured, **secrets, **facts}


def _is_locale(name: str) -> bool:
    return name in ("LANG", "LANGUAGE", "TZ") or name.startswith("LC_")


def _assignments(path: str) -> list[tuple[str, str]]:
    """The ``[export] NAME=value`` lines of a file, quotes taken off; none where it is missing."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    return [_assignment(line) for line in lines if "=" in line]


def _assignment(line: str) -> tuple[str, str]:
    name, _, value = line.strip().removeprefix("export ").partition("=")
    return name.strip(), value.strip().strip("\"'")
