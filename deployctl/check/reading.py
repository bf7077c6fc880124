"""What is read of files that need not be there."""

from __future__ import annotations


def text_of(path: str) -> str:
    """The whole text, empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
