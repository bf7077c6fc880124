"""What differs from one installation to the next: its programs, its config and its account."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import sys
from dataclasses import dataclass

from deployctl.errors import ConfigError
from deployctl.store.database import check_owner
from deployctl.system.environment import PATH, account
from deployctl.values.repo import Config

# The accounts that nginx runs as: Debian and Ubuntu, Fedora and Alpine, Arch.
_WEB_ACCOUNTS = ("www-data", "nginx", "http")
# What means itself to a shell, cron, systemd, nginx and inetd alike; not all of them have quotes.
_PLAIN = re.compile(r"[\w@+=:,./~-]+")


@dataclass(frozen=True)
class Installation:
    """``program`` and ``cgi`` are its two programs, ``fcgiwrap`` is None where there is none.

    ``env_names`` are the variables that ``env:`` secrets of the config name.
    """

    program: str
    cgi: str
    config: str
    state_dir: str
    account: str
    env_names: tuple[str, ...]
    web_account: str
    fcgiwrap: str | None

    @property
    def call(self) -> list[str]:
        """The words of a command of deployctl, but for the last ones."""
        return [self.program, "-c", self.config]

    @property
    def env_file(self) -> str:
        """Where the variables stand for what nobody starts from a shell."""
        return os.path.join(os.path.dirname(self.config), "environment")


def installation(config: Config) -> Installation:
    """This one.

    ForeignError where its state is another account's, ConfigError where one of its names cannot
    be written down for all of these programs.
    """
    who = account()
    if os.path.isdir(config.state_dir):
        check_owner(config.state_dir)
    _refuse_special(sys.executable, config.path, config.state_dir, who.user)
    programs = os.path.dirname(sys.executable)
    return Installation(
        program=os.path.join(programs, "deployctl"),
        cgi=os.path.join(programs, "deploy.cgi"),
        config=config.path,
        state_dir=config.state_dir,
        account=who.user,
        env_names=_env_names(config),
        web_account=_web_account(),
        fcgiwrap=shutil.which("fcgiwrap", path=PATH),
    )


def _refuse_special(*names: str) -> None:
    for name in names:
        if not _PLAIN.fullmatch(name):
            raise ConfigError(
                f"{name} has a character that not all of systemd, cron, nginx and inetd take: "
                "use letters, digits and @ + = : , . / ~ - _"
            )


def _env_names(config: Config) -> tuple[str, ...]:
    """Those of steps and channels, and those of webhooks."""
    webhook = (secret.env_name for repo in config.repos.values() for secret in repo.webhook_secrets)
    return tuple(sorted({*config.env_names, *filter(None, webhook)}))


def _web_account() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in _WEB_ACCOUNTS if name in known), _WEB_ACCOUNTS[0])
