"""The type of a command, as repos.yml or the project's own pipeline file contains it."""

from __future__ import annotations

# A tuple is an argument list (argv), run without a shell; a string is a script for /bin/sh -eu.
Command = str | tuple[str, ...]
