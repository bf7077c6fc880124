"""The programs that deployments start: git, ssh, and what the steps of a repo call first."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from deployctl.check.finding import Finding, fail, ok, warn
from deployctl.environment import base_environment
from deployctl.git.command import git
from deployctl.git.remote import protocol
from deployctl.process import run
from deployctl.repo import Command, Config, Repo

_TIMEOUT = 10.0
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
# What a shell would not find; it knows its own words and functions best.
_MISSING = 'for word do command -v "$word" >/dev/null 2>&1 || echo "$word"; done'


def programs(config: Config) -> Iterator[Finding]:
    """git, and ssh where a url needs it, on the PATH that deployctl starts them with."""
    yield ok("programs", git(["--version"], what="cannot run git"))
    if any(protocol(repo.url) == "ssh" for repo in config.repos.values()):
        base = base_environment()
        if missing({"ssh"}, base):
            what = f"ssh is not on the PATH {base['PATH']}"
            yield fail("programs", what, "sudo apt-get install openssh-client")


def step_programs(_config: Config, repo: Repo) -> Iterator[Finding]:
    """What stages, restart and health check begin with, on the PATH of the steps."""
    wanted = _by_path(repo)
    found: list[Finding] = []
    for path, words in wanted.items():
        for word in missing(words, {**base_environment(), "PATH": path}):
            fix = f"install {word}, or set PATH under env of {repo.name}"
            found.append(warn("programs", f"{word} is not on the PATH of the steps: {path}", fix))
    every = sorted(set().union(*wanted.values()))
    if every and not found:
        found = [ok("programs", f"{', '.join(every)}: on the PATH of the steps")]
    yield from found


def missing(words: Iterable[str], env: Mapping[str, str]) -> list[str]:
    """Those of the words that a shell with this environment could not run."""
    argv = ["/bin/sh", "-c", _MISSING, "sh", *sorted(words)]
    return run(argv, env=env, timeout=_TIMEOUT, cwd="/").stdout.decode().splitlines()


def first_word(command: Command) -> str | None:
    """The program that a command starts first; None where a path or the shell decides."""
    word = command[0] if isinstance(command, tuple) else _first_of_script(command)
    return word if word and _NAME.fullmatch(word) else None


def _first_of_script(script: str) -> str | None:
    lines = (line.strip() for line in script.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    try:
        words = shlex.split(first, comments=True)
    except ValueError:  # a quotation that goes on in the next line
        return None
    return next((word for word in words if not _ASSIGNMENT.fullmatch(word)), None)


def _by_path(repo: Repo) -> dict[str, set[str]]:
    """The PATH that steps see -> the programs that they start by name."""
    env = {**base_environment(), **repo.env}
    wanted: dict[str, set[str]] = defaultdict(set)
    for stage in repo.pipeline.stages:
        _add(wanted[{**env, **stage.env}["PATH"]], stage.steps)
    _add(wanted[env["PATH"]], repo.pipeline.restart)
    if repo.pipeline.healthcheck and repo.pipeline.healthcheck.command is not None:
        _add(wanted[env["PATH"]], [repo.pipeline.healthcheck.command])
    return wanted


def _add(words: set[str], commands: Iterable[Command]) -> None:
    words.update(word for command in commands if (word := first_word(command)) is not None)
