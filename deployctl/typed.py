"""The command line as it was typed, for whoever has to type it again as somebody else."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from deployctl.config.locate import SYSTEM_CONFIG

# Where sudo looks for programs, too (secure_path).
_KNOWN_PLACES = ("/usr/local/bin", "/usr/bin")


def typed_as(owner: str, config_path: str, argv: Sequence[str] | None = None) -> str:
    """This very command, run as the account ``owner``, with the repos.yml that it found here."""
    program, *words = sys.argv if argv is None else argv
    if not any(word.startswith(("-c", "--config")) for word in words):
        words = [*with_config(config_path), *words]
    return shlex.join(["sudo", "-u", owner, *_program(program), *words])


def with_config(config_path: str) -> list[str]:
    """The option that names a repos.yml, where every account does not find that one by itself."""
    return [] if config_path == SYSTEM_CONFIG else ["-c", config_path]


def _program(path: str) -> list[str]:
    directory, name = os.path.split(path)
    if name == "__main__.py":
        return [sys.executable, "-m", os.path.basename(directory)]
    return [name] if directory in _KNOWN_PLACES else [path]
