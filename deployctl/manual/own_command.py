"""Commands of deployctl for a person to type: this one as another account, and setup."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from deployctl.config.locate import SYSTEM_CONFIG

# Where sudo looks for programs, too (secure_path).
_KNOWN_PLACES = ("/usr/local/bin", "/usr/bin")


def this_command_as(owner: str, config_path: str, argv: Sequence[str] | None = None) -> str:
    """Return the command that was typed, run by sudo as ``owner`` with the same repos.yml."""
    program, *words = sys.argv if argv is None else argv
    if not any(word.startswith(("-c", "--config")) for word in words):
        words = [*with_config(config_path), *words]
    return shlex.join(["sudo", "-u", owner, *_program(program), *words])


def with_config(config_path: str) -> list[str]:
    """Return the option that names a repos.yml; empty for the one that every account finds."""
    return [] if config_path == SYSTEM_CONFIG else ["-c", config_path]


def setup_command(topic: str, config_path: str) -> str:
    """Return the command that prints a configuration, with the option for this repos.yml."""
    option = "" if config_path == SYSTEM_CONFIG else f" -c {shlex.quote(config_path)}"
    return f"deployctl setup {topic}{option}"


def _program(path: str) -> list[str]:
    directory, name = os.path.split(path)
    if name == "__main__.py":
        return [sys.executable, "-m", os.path.basename(directory)]
    return [name] if directory in _KNOWN_PLACES else [path]
