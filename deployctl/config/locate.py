"""Where repos.yml and the state directory are; relative paths and ``~/`` in repos.yml.

This module is on the webhook's way: it imports ``os``, ``pwd`` and nothing heavy.
"""

from __future__ import annotations

import os
import pwd

from deployctl.errors import ConfigError
from deployctl.system.trust import require_trust

MAX_SIZE = 1024 * 1024
SYSTEM_CONFIG = "/etc/deployctl/repos.yml"


def find_config(explicit: str | None) -> str:
    """The absolute path of repos.yml: the one named, or the first one that exists.

    Order: ``explicit`` (``--config``), ``$DEPLOYCTL_CONFIG``, ``./repos.yml``,
    ``~/.config/deployctl/repos.yml``, ``/etc/deployctl/repos.yml``. :class:`ConfigError` where
    the file named does not exist, or where none of the places has one.
    """
    if explicit is not None:
        return _existing(explicit, "--config")
    variable = os.environ.get("DEPLOYCTL_CONFIG")
    if variable:
        return _existing(variable, "$DEPLOYCTL_CONFIG")
    places = ("./repos.yml", f"{home()}/.config/deployctl/repos.yml", SYSTEM_CONFIG)
    for place in places:
        if os.path.exists(place):
            return os.path.abspath(place)
    raise ConfigError(
        f"no repos.yml found (searched {', '.join(places)}): "
        "write one, see the README, or name it with --config"
    )


def _existing(path: str, origin: str) -> str:
    """A relative path in a directory that is gone does not exist either: no getcwd() to fail."""
    try:
        os.stat(path)
    except OSError as error:
        raise ConfigError(
            f"{origin} {path}: {error.strerror}: name a repos.yml that exists"
        ) from None
    return os.path.abspath(path)


def default_state_dir() -> str:
    """Where the state is unless ``state_dir`` says otherwise."""
    return f"{home()}/.local/state/deployctl"


def home() -> str:
    """The account's home by its passwd entry, not by $HOME: cron, CGI and a shell must agree."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir.rstrip("/")
    except KeyError:
        raise ConfigError(
            f"user id {os.geteuid()} has no passwd entry and so no home: give it one, or name "
            "the config with --config and set state_dir"
        ) from None


def resolve_path(text: str, directory: str) -> str:
    """An absolute path; ``~/`` is the account's home, a relative one starts at ``directory``."""
    if text == "~" or text.startswith("~/"):
        text = home() + text[1:] or "/"
    # POSIX lets two leading slashes mean something else, and normpath therefore keeps them.
    return os.path.normpath("/" + os.path.join(directory, text).lstrip("/"))


def read_config(path: str, *, trusted: bool = True) -> bytes:
    """The bytes of repos.yml; :class:`ConfigError` where it cannot be read or is too large.

    And where others can change it, unless it need not be ``trusted``.
    """
    try:
        with open(path, "rb") as file:
            if trusted:
                require_trust(path, path, os.fstat(file.fileno()))
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read: {error.strerror}: name a file that this account may read"
        ) from None
    if len(data) > MAX_SIZE:
        raise ConfigError(f"{path}: larger than 1 MiB: split it, one repos.yml for each part")
    return data
