"""Find a program that a step did not find on its PATH, and advise what to write in repos.yml.

The search runs only after a step or ``deployctl check`` missed a program.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator, Mapping

from deployctl.system.command import Command
from deployctl.system.environment import current_account

# Directories into which installers put programs and which no system's PATH contains.
_HOME_DIRECTORIES = (
    *(".local/bin", ".nvm/versions/node/*/bin", ".volta/bin", ".pyenv/shims", ".rbenv/shims"),
    *(".cargo/bin", "go/bin", ".bun/bin"),
)
_SYSTEM_DIRECTORIES = ("/usr/local/go/bin", "/snap/bin", "/opt/*/bin")
# A project's own programs, relative to the directory in which its steps run.
_RELEASE_DIRECTORIES = ("node_modules/.bin", ".venv/bin")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
# dash, bash and busybox: `sh: 1: npm: not found`, `npm: command not found`; env(1) of coreutils.
_NOT_FOUND_MESSAGE = re.compile(
    r"(?m)(?:^|[:\s])(?:([\w.+-]+): (?:command )?not found"
    r"|(?:\S*/)?env: \W?([\w.+-]+)\W?: No such file or directory)$"
)


def first_program(command: Command) -> str | None:
    """Return the name of the program that a command starts first.

    None: the command starts with a path, or with something that only the shell can interpret.
    """
    word = command[0] if isinstance(command, tuple) else _first_of_script(command)
    return word if word and _NAME.fullmatch(word) else None


def missing_program(command: Command, tail: str) -> str | None:
    """Return the name of the program that was not found when a command ended with exit code 127.

    It is the one that the last "not found" message in ``tail``, the end of the output, names;
    without such a message, the first program of the command.
    """
    names = [match[1] or match[2] for match in _NOT_FOUND_MESSAGE.finditer(tail)]
    return names[-1] if names else first_program(command)


def missing_program_advice(program: str, env: Mapping[str, str], directory: str) -> str | None:
    """Return a sentence such as ``npm is in /opt/node/bin: set env: …``.

    ``env`` is the environment of the step, ``directory`` its working directory. None: the program
    is in none of the usual directories.
    """
    for place in _RELEASE_DIRECTORIES:
        if _is_program(os.path.join(directory, place, program)):
            return f"{program} is in {place}: call it {place}/{program}"
    found = next(
        (place for place in _search_directories(env) if _is_program(os.path.join(place, program))),
        None,
    )
    if found is None:
        return None
    path = f"{env.get('PATH', os.defpath)}:{found}"
    return f'{program} is in {found}: set env: {{PATH: "{path}"}}'


def _search_directories(env: Mapping[str, str]) -> Iterator[str]:
    """Yield the directories that exist, those of the home first; of several versions the newest."""
    home = env.get("HOME") or current_account().home
    for pattern in (
        *(os.path.join(glob.escape(home), place) for place in _HOME_DIRECTORIES),
        *_SYSTEM_DIRECTORIES,
    ):
        yield from sorted(glob.glob(pattern), key=_version_key, reverse=True)


def _version_key(path: str) -> list[int]:
    """Return the numbers in a path as a sort key, so that v20.1.0 is newer than v9.11.2."""
    return [int(digits) for digits in re.findall(r"\d+", path)]


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _first_of_script(script: str) -> str | None:
    """Return the program in the first line that is no comment and no ``[ … ]`` test."""
    lines = (line.strip() for line in script.splitlines())
    first = next((line for line in lines if line and not line.startswith(("#", "[ "))), "")
    try:
        words = shlex.split(first, comments=True)
    except ValueError:  # a quotation that continues in the next line
        return None
    return next((word for word in words if not _is_prefix(word)), None)


def _is_prefix(word: str) -> bool:
    """Tell whether a word may precede the program: ``X=1``, or ``"$@"`` in deployctl's scripts."""
    return word == "$@" or _ASSIGNMENT.fullmatch(word) is not None
