"""repos.yml itself, and the secrets that it points to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from deployctl.check.finding import Finding, advised, fail, ok, warn
from deployctl.check.permissions import readable, replaceable
from deployctl.errors import ConfigError
from deployctl.manual.own_command import this_command_as
from deployctl.system.trust import account_name
from deployctl.values.repo import Config, Repo
from deployctl.values.secret import Secret


def complaints(error: ConfigError, path: str | None) -> Iterator[Finding]:
    """A repos.yml that cannot be used: one finding for each complaint."""
    for line in str(error).splitlines():
        place = re.match(r"(.+?):(\d+): ", line)
        if place:
            yield fail("config", line, f"edit {place[1]}, line {place[2]}")
        elif path and os.path.exists(path) and not os.access(path, os.R_OK):
            owner = account_name(os.stat(path).st_uid)
            yield fail("config", advised(line)[0], this_command_as(owner, path))
        else:
            yield fail("config", *advised(line))


def config_file(config: Config) -> Iterator[Finding]:
    """Which file it is, and that nobody else decides what this account runs."""
    found = [*replaceable("config", config.path)]
    if any(map(_is_literal, _all_secrets(config))):
        found += readable("config", config.path)
    count = len(config.repos)
    yield from found or [
        ok("config", f"{config.path}: {count} {'repo' if count == 1 else 'repos'}")
    ]


def secrets(_config: Config, repo: Repo) -> Iterator[Finding]:
    """The repo's secrets can be read, and by this account alone."""
    found = [
        *(fault for each in repo.secrets.values() for fault in secret_faults("secrets", each)),
        *(fault for each in repo.webhook_secrets for fault in _webhook_secret_faults(each)),
    ]
    count = len(repo.secrets) + len(repo.webhook_secrets)
    if count and not found:
        found = [ok("secrets", f"{count} can be read" if count > 1 else "it can be read")]
    yield from found


def secret_faults(check: str, secret: Secret) -> Iterator[Finding]:
    """Nothing where the secret has a value that is ours alone."""
    try:
        secret.reveal()
    except ConfigError as error:
        yield fail(check, *advised(str(error)))
    path = _file_of(secret)
    if path and os.path.exists(path):
        yield from readable(check, path)
        yield from replaceable(check, path)


def _webhook_secret_faults(secret: Secret) -> Iterator[Finding]:
    """A variable for the webhook is set for the web server, and maybe only there."""
    name = secret.env_name
    if name and not os.environ.get(name):
        what = f"{name} is not set here, and the web server needs it"
        yield warn("secrets", what, f"set {name} for fcgiwrap (Environment=), or use file:PATH")
    elif not name:
        yield from secret_faults("secrets", secret)


def _all_secrets(config: Config) -> Iterable[Secret]:
    for repo in config.repos.values():
        yield from repo.secrets.values()
        if repo.forge != "sourcehut":  # what stands there is a public key
            yield from repo.webhook_secrets
    yield from (channel.url for channel in config.channels.values())


def _is_literal(secret: Secret) -> bool:
    return secret.env_name is None and _file_of(secret) is None


def _file_of(secret: Secret) -> str | None:
    kind, _, path = secret.reference.partition(":")
    return path if kind == "file" else None
