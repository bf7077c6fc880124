"""Check for the programs that deployments start: git, ssh, and the first ones of all steps."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from deployctl.check.finding import Finding, fail, ok, warn
from deployctl.deploy.limits import Systemd, why_no_memory_limit
from deployctl.git.command import git
from deployctl.git.remote import protocol
from deployctl.system.command import Command
from deployctl.system.environment import base_environment
from deployctl.system.find_program import first_program, missing_program_advice
from deployctl.system.process import run
from deployctl.values.repo import Config, Repo
from deployctl.values.text import as_configured

_TIMEOUT = 10.0  # seconds
# Prints the words that a shell does not find; only a shell knows its own keywords and builtins.
_PRINT_MISSING = 'for word do command -v "$word" >/dev/null 2>&1 || echo "$word"; done'


def programs(config: Config) -> Iterator[Finding]:
    """Check for git and, where a url needs it, ssh, on the PATH that deployctl starts them with."""
    yield ok("programs", git(["--version"], what="cannot run git"))
    if any(protocol(repo.url) == "ssh" for repo in config.repos.values()):
        base = base_environment()
        if missing({"ssh"}, base):
            what = f"ssh is not on the PATH {base['PATH']}"
            yield fail("programs", what, "sudo apt-get install openssh-client")


def step_programs(_config: Config, repo: Repo) -> Iterator[Finding]:
    """Check for the programs that the commands of a repo start, on the PATH of its steps."""
    wanted = _by_path(repo)
    found: list[Finding] = []
    directory = os.path.join(repo.path, "current") if repo.strategy == "releases" else repo.path
    for path, words in wanted.items():
        for word in missing(words, {**base_environment(), "PATH": path}):
            fix = f"install {word}, or set PATH under env of {repo.name}"
            fix = (
                missing_program_advice(
                    word, {**base_environment(), **repo.env, "PATH": path}, directory
                )
                or fix
            )
            found.append(warn("programs", f"{word} is not on the PATH of the steps: {path}", fix))
    all_words = sorted(set().union(*wanted.values()))
    if all_words and not found:
        found = [ok("programs", f"{', '.join(all_words)}: on the PATH of the steps")]
    yield from found


def memory(_config: Config, repo: Repo, systemd: Systemd | None = None) -> Iterator[Finding]:
    """Check, by trying it out, that the limit ``memory`` of a repo would hold."""
    if repo.memory is None:
        return
    limit = as_configured(repo.memory)
    why = why_no_memory_limit(repo.memory, systemd or Systemd())
    if why is None:
        yield ok("memory", f"a command of a stage may take {limit}: systemd sees to that")
    else:
        fix = f"remove memory of {repo.name}"
        if os.geteuid() != 0:
            fix = f"sudo loginctl enable-linger $(id -un), or {fix}"
        yield warn("memory", f"memory: {limit} does not hold: {why}", fix)


def missing(words: Iterable[str], env: Mapping[str, str]) -> list[str]:
    """Return those of the words that a shell with this environment could not run."""
    argv = ["/bin/sh", "-c", _PRINT_MISSING, "sh", *sorted(words)]
    return run(argv, env=env, timeout=_TIMEOUT, cwd="/").stdout.decode().splitlines()


def _by_path(repo: Repo) -> dict[str, set[str]]:
    """Return, for each PATH that steps have, the programs that they start by name."""
    env = {**base_environment(), **repo.env}
    wanted: dict[str, set[str]] = defaultdict(set)
    for stage in repo.pipeline.stages:
        _add_programs(wanted[{**env, **stage.env}["PATH"]], stage.steps)
    _add_programs(wanted[env["PATH"]], repo.pipeline.restart)
    if health := repo.pipeline.healthcheck:
        commands = [health.command, *(evidence.command for evidence in health.evidence)]
        _add_programs(wanted[env["PATH"]], (command for command in commands if command is not None))
    return wanted


def _add_programs(words: set[str], commands: Iterable[Command]) -> None:
    words.update(word for command in commands if (word := first_program(command)) is not None)
