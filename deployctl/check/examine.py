"""All checks, one after the other: of the machine, then of each repo."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import replace

from deployctl.check import (
    account,
    channels,
    config,
    live,
    programs,
    remote,
    starting,
    state,
    webhook,
)
from deployctl.check.finding import Finding, findings_of
from deployctl.config.load import load
from deployctl.config.locate import find_config
from deployctl.errors import ConfigError
from deployctl.manual.own_command import with_config
from deployctl.releases.site import find_repo
from deployctl.values.repo import Config, Repo

_Machine = Callable[[Config], Iterable[Finding]]
_Repo = Callable[[Config, Repo], Iterable[Finding]]

# Under the names that findings have.
_OF_THE_MACHINE: tuple[tuple[str, _Machine], ...] = (
    ("config", config.config_file),
    ("account", account.account),
    ("state", state.state),
    ("file_system", state.file_system),
    ("disk", state.disk),
    ("database", state.database),
    ("programs", programs.programs),
    ("start", starting.start),
    ("worker", starting.worker),
    ("channels", channels.channels),
)
_OF_A_REPO: tuple[tuple[str, _Repo], ...] = (
    ("secrets", config.secrets),
    ("ssh_key", remote.ssh_key),
    ("known_hosts", remote.known_hosts),
    ("remote", remote.remote),
    ("path", live.path),
    ("disk", state.repo_disk),
    ("programs", programs.step_programs),
    ("memory", programs.memory),
    ("live", live.live),
    ("health", live.health),
    ("webhook", webhook.webhook),
    ("channels", channels.notify),
)
# What is true of any account that may read repos.yml.
_OF_ANY_ACCOUNT = ("config", "account")


def examine(named: str | None, repo: str | None) -> list[Finding]:
    """Look at everything, or at the machine and one repo; ``named`` is a repos.yml, None: search.

    A config that cannot be used is all there is to find. :class:`UsageError` where it has no repo
    of that name.
    """
    path = None
    try:
        path = find_config(named)
        loaded = load(path)
    except ConfigError as error:
        return list(config.complaints(error, path))
    repos = [find_repo(loaded, repo)] if repo is not None else list(loaded.repos.values())
    foreign = account.is_foreign(loaded)
    found = [
        finding
        for name, look in _OF_THE_MACHINE
        if not foreign or name in _OF_ANY_ACCOUNT
        for finding in _look(name, look, loaded)
    ]
    for each in [] if foreign else repos:
        for name, look_at in _OF_A_REPO:
            found += _look_at(name, look_at, loaded, each)
    return found if named is None else [_with_config(finding, path) for finding in found]


def _with_config(finding: Finding, path: str) -> Finding:
    """A command of ours that mends it is for the repos.yml that was named."""
    program, _, rest = (finding.fix or "").partition(" ")
    if program != "deployctl":
        return finding
    return replace(finding, fix=f"{shlex.join([program, *with_config(path)])} {rest}")


def _look(name: str, look: _Machine, loaded: Config) -> list[Finding]:
    return findings_of(name, None, lambda: look(loaded))


def _look_at(name: str, look: _Repo, loaded: Config, repo: Repo) -> list[Finding]:
    return findings_of(name, repo.name, lambda: look(loaded, repo))
