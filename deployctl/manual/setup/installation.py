"""Find out how deployctl is installed here: its programs, its configuration, its account."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import sys
from dataclasses import dataclass

from deployctl.errors import ConfigError
from deployctl.store.database import check_owner
from deployctl.system.environment import PATH, current_account
from deployctl.values.repo import Config

# The accounts that nginx runs as: Debian and Ubuntu, Fedora and Alpine, Arch.
_WEB_ACCOUNTS = ("www-data", "nginx", "http")
# Characters that have no special meaning to a shell, cron, systemd, nginx and inetd. Not all of
# these have quotes, so no other character can be written for all of them.
_PLAIN = re.compile(r"[\w@+=:,./~-]+")


@dataclass(frozen=True)
class Installation:
    """An installation of deployctl and the accounts and programs that it works with.

    ``program`` and ``cgi`` are the paths of ``deployctl`` and ``deploy.cgi``, ``config`` is that of
    repos.yml. ``account`` runs deployctl, ``web_account`` runs nginx. ``env_names`` are the
    variables that ``env:`` secrets in repos.yml name. ``fcgiwrap`` is the path of that program;
    None if it is not installed.
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
        """Return the first words of a command: program and config, without the subcommand."""
        return [self.program, "-c", self.config]

    @property
    def env_file(self) -> str:
        """Return the path of the file with environment variables for the systemd services."""
        return os.path.join(os.path.dirname(self.config), "environment")


def installation(config: Config) -> Installation:
    """Return this installation.

    ForeignError if its state directory belongs to another account; ConfigError if one of its names
    has a character that one of the programs cannot take.
    """
    own_account = current_account()
    if os.path.isdir(config.state_dir):
        check_owner(config.state_dir)
    _refuse_special(sys.executable, config.path, config.state_dir, own_account.user)
    bin_dir = os.path.dirname(sys.executable)
    return Installation(
        program=os.path.join(bin_dir, "deployctl"),
        cgi=os.path.join(bin_dir, "deploy.cgi"),
        config=config.path,
        state_dir=config.state_dir,
        account=own_account.user,
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
    """Return the environment variables that secrets of steps, channels and webhooks name."""
    webhook = (secret.env_name for repo in config.repos.values() for secret in repo.webhook_secrets)
    return tuple(sorted({*config.env_names, *filter(None, webhook)}))


def _web_account() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in _WEB_ACCOUNTS if name in known), _WEB_ACCOUNTS[0])
