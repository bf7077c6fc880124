"""Check repos.yml itself, and the secrets that it refers to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from deployctl.check.finding import Finding, fail, ok, split_advice, warn
from deployctl.check.permissions import readable_by_others, replaceable_by_others
from deployctl.errors import ConfigError
from deployctl.manual.own_command import this_command_as
from deployctl.system.trust import account_name
from deployctl.values.repo import Config, Repo
from deployctl.values.secret import Secret


def complaints(error: ConfigError, path: str | None) -> Iterator[Finding]:
    """Report a repos.yml that cannot be used: one finding for each line of the error.

    ``path`` is that of repos.yml, None where it was not found.
    """
    for line in str(error).splitlines():
        location = re.match(r"(.+?):(\d+): ", line)
        if location:
            yield fail("config", line, f"edit {location[1]}, line {location[2]}")
        elif path and os.path.exists(path) and not os.access(path, os.R_OK):
            owner = account_name(os.stat(path).st_uid)
            yield fail("config", split_advice(line)[0], this_command_as(owner, path))
        else:
            yield fail("config", *split_advice(line))


def config_file(config: Config) -> Iterator[Finding]:
    """Report which repos.yml is used, and check that no other account can replace it.

    Where it contains secrets, check also that no other account can read it.
    """
    found = [*replaceable_by_others("config", config.path)]
    if any(map(_is_literal, _all_secrets(config))):
        found += readable_by_others("config", config.path)
    count = len(config.repos)
    yield from found or [
        ok("config", f"{config.path}: {count} {'repo' if count == 1 else 'repos'}")
    ]


def secrets(_config: Config, repo: Repo) -> Iterator[Finding]:
    """Check that this account, and no other, can read the secrets of a repo."""
    found = [
        *(fault for secret in repo.secrets.values() for fault in secret_faults("secrets", secret)),
        *(fault for secret in repo.webhook_secrets for fault in _webhook_secret_faults(secret)),
    ]
    count = len(repo.secrets) + len(repo.webhook_secrets)
    if count and not found:
        found = [ok("secrets", f"{count} can be read" if count > 1 else "it can be read")]
    yield from found


def secret_faults(check: str, secret: Secret) -> Iterator[Finding]:
    """Report a secret that has no value, or whose file other accounts can read or change."""
    try:
        secret.reveal()
    except ConfigError as error:
        yield fail(check, *split_advice(str(error)))
    path = _secret_path(secret)
    if path and os.path.exists(path):
        yield from readable_by_others(check, path)
        yield from replaceable_by_others(check, path)


def _webhook_secret_faults(secret: Secret) -> Iterator[Finding]:
    """Report what is wrong with a secret for the webhook.

    A missing variable is only a warning: it may be set for the web server alone.
    """
    name = secret.env_name
    if name and not os.environ.get(name):
        what = f"{name} is not set here, and the web server needs it"
        yield warn("secrets", what, f"set {name} for fcgiwrap (Environment=), or use file:PATH")
    elif not name:
        yield from secret_faults("secrets", secret)


def _all_secrets(config: Config) -> Iterable[Secret]:
    for repo in config.repos.values():
        yield from repo.secrets.values()
        if repo.forge != "sourcehut":  # its webhook_secret is a public key
            yield from repo.webhook_secrets
    yield from (channel.url for channel in config.channels.values())


def _is_literal(secret: Secret) -> bool:
    return secret.env_name is None and _secret_path(secret) is None


def _secret_path(secret: Secret) -> str | None:
    kind, _, path = secret.reference.partition(":")
    return path if kind == "file" else None
