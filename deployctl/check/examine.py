"""Run all checks: first those of the machine, then those of each repo."""

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

_MachineCheck = Callable[[Config], Iterable[Finding]]
_RepoCheck = Callable[[Config, Repo], Iterable[Finding]]

# By the names of their findings.
_MACHINE_CHECKS: tuple[tuple[str, _MachineCheck], ...] = (
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
_REPO_CHECKS: tuple[tuple[str, _RepoCheck], ...] = (
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
# The checks whose results are right for any account that can read repos.yml.
_FOR_ANY_ACCOUNT = ("config", "account")


def examine(named: str | None, repo: str | None) -> list[Finding]:
    """Run the checks of the machine and of one repo (None: of all repos); return their findings.

    ``named`` is the path of a repos.yml, None: it is searched for. Where the config cannot be used,
    only that is reported. :class:`UsageError` where it has no repo of that name.
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
        for name, machine_check in _MACHINE_CHECKS
        if not foreign or name in _FOR_ANY_ACCOUNT
        for finding in _check_machine(name, machine_check, loaded)
    ]
    for checked_repo in [] if foreign else repos:
        for name, repo_check in _REPO_CHECKS:
            found += _check_repo(name, repo_check, loaded, checked_repo)
    return found if named is None else [_with_config(finding, path) for finding in found]


def _with_config(finding: Finding, path: str) -> Finding:
    """Add the option for this repos.yml where the fix is a command of deployctl."""
    program, _, rest = (finding.fix or "").partition(" ")
    if program != "deployctl":
        return finding
    return replace(finding, fix=f"{shlex.join([program, *with_config(path)])} {rest}")


def _check_machine(name: str, check: _MachineCheck, loaded: Config) -> list[Finding]:
    return findings_of(name, None, lambda: check(loaded))


def _check_repo(name: str, check: _RepoCheck, loaded: Config, repo: Repo) -> list[Finding]:
    return findings_of(name, repo.name, lambda: check(loaded, repo))
