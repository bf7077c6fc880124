"""Where a program is that a step did not find: looked for only once it was missed."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator, Mapping

from deployctl.system.command import Command
from deployctl.system.environment import account

# Where installers put programs that no PATH of the system names: first the account's own.
_IN_HOME = (
    *(".local/bin", ".nvm/versions/node/*/bin", ".volta/bin", ".pyenv/shims", ".rbenv/shims"),
    *(".cargo/bin", "go/bin", ".bun/bin"),
)
_ELSEWHERE = ("/usr/local/go/bin", "/snap/bin", "/opt/*/bin")
# Where a project has programs of its own, relative to where its steps run.
_IN_RELEASE = ("node_modules/.bin", ".venv/bin")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
# dash, bash and busybox: `sh: 1: npm: not found`, `npm: command not found`; env(1) of coreutils.
_MISSED = re.compile(
    r"(?m)(?:^|[:\s])(?:([\w.+-]+): (?:command )?not found"
    r"|(?:\S*/)?env: \W?([\w.+-]+)\W?: No such file or directory)$"
)


def first_word(command: Command) -> str | None:
    """The program that a command starts first; None where a path or the shell decides."""
    word = command[0] if isinstance(command, tuple) else _first_of_script(command)
    return word if word and _NAME.fullmatch(word) else None


def missing_program(command: Command, tail: str) -> str | None:
    """The program that was not found, by the last word of whoever looked for it."""
    said = [match[1] or match[2] for match in _MISSED.finditer(tail)]
    return said[-1] if said else first_word(command)


def advice(program: str, env: Mapping[str, str], directory: str) -> str | None:
    """``npm is in /opt/node/bin: set env: …``; None where it is in none of the usual places.

    ``env`` is what the step saw, ``directory`` where it ran.
    """
    for place in _IN_RELEASE:
        if _is_program(os.path.join(directory, place, program)):
            return f"{program} is in {place}: call it {place}/{program}"
    found = next((each for each in _places(env) if _is_program(os.path.join(each, program))), None)
    if found is None:
        return None
    path = f"{env.get('PATH', os.defpath)}:{found}"
    return f'{program} is in {found}: set env: {{PATH: "{path}"}}'


def _places(env: Mapping[str, str]) -> Iterator[str]:
    home = env.get("HOME") or account().home
    for pattern in (*(os.path.join(glob.escape(home), each) for each in _IN_HOME), *_ELSEWHERE):
        yield from sorted(glob.glob(pattern), key=_version, reverse=True)


def _version(place: str) -> list[int]:
    """v20.1.0 after v9.11.2."""
    return [int(digits) for digits in re.findall(r"\d+", place)]


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _first_of_script(script: str) -> str | None:
    """Of its first line that is no comment and no test of the shell's own."""
    lines = (line.strip() for line in script.splitlines())
    first = next((line for line in lines if line and not line.startswith(("#", "[ "))), "")
    try:
        words = shlex.split(first, comments=True)
    except ValueError:  # a quotation that goes on in the next line
        return None
    return next((word for word in words if not _says_how(word)), None)


def _says_how(word: str) -> bool:
    """What may stand before a command: ``X=1``, or the ``"$@"`` of our own deployers."""
    return word == "$@" or _ASSIGNMENT.fullmatch(word) is not None
