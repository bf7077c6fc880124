"""Finding and reading of repos.yml, the default state directory, and paths in repos.yml.

Every webhook imports this module, so it must load fast: it imports ``os``, ``pwd`` and nothing
slow.
"""

from __future__ import annotations

import os
import pwd

from deployctl.errors import ConfigError
from deployctl.system.trust import require_unchangeable_by_others

MAX_SIZE = 1024 * 1024  # bytes
SYSTEM_CONFIG = "/etc/deployctl/repos.yml"


def find_config(explicit: str | None) -> str:
    """Return the absolute path of repos.yml.

    It is the file that ``explicit`` (``--config``) names, else the one that ``$DEPLOYCTL_CONFIG``
    names, else the first that exists of ``./repos.yml``, ``~/.config/deployctl/repos.yml`` and
    ``/etc/deployctl/repos.yml``. Raises :class:`ConfigError` if the file that is named does not
    exist, or if no file is named and none of the three exists.
    """
    if explicit is not None:
        return _existing(explicit, "--config")
    variable = os.environ.get("DEPLOYCTL_CONFIG")
    if variable:
        return _existing(variable, "$DEPLOYCTL_CONFIG")
    paths = ("./repos.yml", f"{home_directory()}/.config/deployctl/repos.yml", SYSTEM_CONFIG)
    for path in paths:
        if os.path.exists(path):
            return os.path.abspath(path)
    raise ConfigError(
        f"no repos.yml found (searched {', '.join(paths)}): "
        "write one, see the README, or name it with --config"
    )


def _existing(path: str, source: str) -> str:
    """Return the absolute path of an existing file; ``source`` is the option or variable.

    In a working directory that was removed, os.path.abspath fails, as getcwd(3) does. So os.stat
    comes first: there it reports that the relative path does not exist.
    """
    try:
        os.stat(path)
    except OSError as error:
        raise ConfigError(
            f"{source} {path}: {error.strerror}: name a repos.yml that exists"
        ) from None
    return os.path.abspath(path)


def default_state_dir() -> str:
    """Return the state directory of a repos.yml that has no ``state_dir``."""
    return f"{home_directory()}/.local/state/deployctl"


def home_directory() -> str:
    """Return the home directory in the account's passwd entry.

    $HOME is not used: cron, CGI and a shell may set it differently, and all of them must find the
    same files. Raises :class:`ConfigError` if the account has no passwd entry.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir.rstrip("/")
    except KeyError:
        raise ConfigError(
            f"user id {os.geteuid()} has no passwd entry and so no home: give it one, or name "
            "the config with --config and set state_dir"
        ) from None


def resolve_path(text: str, directory: str) -> str:
    """Return ``text`` as an absolute, normalised path.

    ``~/`` is the account's home; a relative path is relative to ``directory``.
    """
    if text == "~" or text.startswith("~/"):
        text = home_directory() + text[1:] or "/"
    # normpath keeps two leading slashes, because POSIX lets systems give them a special meaning.
    return os.path.normpath("/" + os.path.join(directory, text).lstrip("/"))


def read_config(path: str, *, trusted: bool = True) -> bytes:
    """Return the bytes of repos.yml.

    Raises :class:`ConfigError` if it cannot be read, if it is larger than :data:`MAX_SIZE`, or if
    other accounts can change it. ``trusted=False`` leaves out the last check.
    """
    try:
        with open(path, "rb") as file:
            if trusted:
                require_unchangeable_by_others(path, path, os.fstat(file.fileno()))
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read: {error.strerror}: name a file that this account may read"
        ) from None
    if len(data) > MAX_SIZE:
        raise ConfigError(f"{path}: larger than 1 MiB: split it, one repos.yml for each part")
    return data
