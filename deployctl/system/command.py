"""A command as repos.yml or the project's own file writes it."""

from __future__ import annotations

# A tuple is argv and no shell reads it; a string is a script for /bin/sh -eu.
Command = str | tuple[str, ...]
