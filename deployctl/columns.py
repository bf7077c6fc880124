"""How many columns of a terminal a text takes."""

from __future__ import annotations

import unicodedata


def columns_of(text: str) -> int:
    """Characters of East Asian scripts take two, accents of their own none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, columns: int | None) -> str:
    """At most so many columns; None: nothing is cut."""
    if columns is None or columns_of(text) <= columns:
        return text
    taken = 0
    for position, letter in enumerate(text):
        taken += _columns(letter)
        if taken > columns - 3:
            return f"{text[:position]}..."
    return text


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
