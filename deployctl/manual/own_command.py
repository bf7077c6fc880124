"""Build commands of deployctl that messages tell a person to type."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from deployctl.config.locate import SYSTEM_CONFIG

# sudo finds programs in these directories by their name alone (secure_path of sudoers).
_SUDO_DIRECTORIES = ("/usr/local/bin", "/usr/bin")


def this_command_as(owner: str, config_path: str, argv: Sequence[str] | None = None) -> str:
    """Return a shell command that repeats the one typed, as the account ``owner``, by sudo.

    It names the same repos.yml. ``argv`` is the command that was typed; None: that of this process.
    """
    program, *words = sys.argv if argv is None else argv
    if not any(word.startswith(("-c", "--config")) for word in words):
        words = [*with_config(config_path), *words]
    return shlex.join(["sudo", "-u", owner, *_program_words(program), *words])


def with_config(config_path: str) -> list[str]:
    """Return the words of the option ``-c``; none for the repos.yml that every account finds."""
    return [] if config_path == SYSTEM_CONFIG else ["-c", config_path]


def setup_command(topic: str, config_path: str) -> str:
    """Return the command ``deployctl setup TOPIC`` with the option ``-c`` if it is needed."""
    option = "" if config_path == SYSTEM_CONFIG else f" -c {shlex.quote(config_path)}"
    return f"deployctl setup {topic}{option}"


def _program_words(path: str) -> list[str]:
    directory, name = os.path.split(path)
    if name == "__main__.py":
        return [sys.executable, "-m", os.path.basename(directory)]
    return [name] if directory in _SUDO_DIRECTORIES else [path]
