"""Who this is, and whose the state directory is: one account owns what deployctl keeps."""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from deployctl import environment
from deployctl.check.finding import Finding, fail, ok
from deployctl.config.locate import SYSTEM_CONFIG
from deployctl.repo import Config


@dataclass(frozen=True)
class Owner:
    """An account as ``sudo -u`` takes it: by name, or ``#1001`` where it has none."""

    uid: int
    name: str


def owner_of(path: str) -> Owner | None:
    """Whose it is; None where there is no such file."""
    try:
        uid = os.stat(path).st_uid
    except OSError:
        return None
    try:
        return Owner(uid, pwd.getpwuid(uid).pw_name)
    except KeyError:
        return Owner(uid, f"#{uid}")


def run_as(name: str, config_path: str = SYSTEM_CONFIG) -> str:
    """The command that asks all this as another account."""
    option = "" if config_path == SYSTEM_CONFIG else f" -c {shlex.quote(config_path)}"
    return f"sudo -u {shlex.quote(name)} deployctl check{option}"


def is_foreign(config: Config) -> bool:
    """Whether the state is somebody else's: all else would be true of that account only."""
    owner = owner_of(config.state_dir)
    return owner is not None and owner.uid != os.geteuid()


def account(config: Config) -> Iterator[Finding]:
    """Keys, known hosts and permissions are those of the account that runs deployctl."""
    who, owner = environment.account(), owner_of(config.state_dir)
    if owner and is_foreign(config):
        what = f"{config.state_dir} belongs to {owner.name} and this is {who.user}"
        yield fail(
            "account", f"{what}; nothing else was looked at", run_as(owner.name, config.path)
        )
    else:
        yield ok("account", f"{who.user} (uid {who.uid}), at home in {who.home}")
