"""Text for people: width on a terminal, numbers of bytes, names of files, indented sections."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from typing import Protocol

from deployctl.values.masking import escape_controls

KB = 1024
MB = 1024 * KB
GB = 1024 * MB

# The beginnings of headings; see :func:`section`.
FIRST, LAST = "first lines of ", "last lines of "

_HEADING = re.compile(rf"^(?={FIRST}|{LAST})", re.MULTILINE)
_MAX_NAMED = 3


class Lines(Protocol):
    """Anything that takes whole lines of text for people: a log, a stage's log, the screen."""

    def line(self, text: str) -> None: ...


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes.

    Wide characters, as in East Asian scripts, take two, combining accents none.
    """
    return len(text) if text.isascii() else sum(map(_columns, text))


def cut(text: str, columns: int | None) -> str:
    """Return the text, cut to at most so many columns; if it is cut, it ends with ``...``.

    ``columns`` None does not cut it.
    """
    if columns is None or columns_of(text) <= columns:
        return text
    taken = 0
    for position, character in enumerate(text):
        taken += _columns(character)
        if taken > columns - 3:
            return f"{text[:position]}..."
    return text


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def as_configured(count: int) -> str:
    """Return a number of bytes exactly, as repos.yml writes it: ``1G``, ``1536M``, ``1000``."""
    for unit, suffix in ((GB, "G"), (MB, "M"), (KB, "K")):
        if count % unit == 0:
            return f"{count // unit}{suffix}"
    return str(count)


def in_bytes(count: int) -> str:
    """Return a number of bytes, rounded: ``1.5 GB``, ``200 MB``, ``12 KB``."""
    if count >= GB:
        return f"{count / GB:.1f} GB"
    return f"{count // MB} MB" if count >= MB else f"{count // KB} KB"


def some_of(paths: Sequence[str]) -> str:
    """Return the first three paths and the number of the others: ``a, b, c and 4 more``.

    File names may contain any bytes; a byte that is not UTF-8 is written as ``\\xe9``.
    """
    named = (os.fsencode(path).decode(errors="backslashreplace") for path in paths[:_MAX_NAMED])
    more = f" and {len(paths) - _MAX_NAMED} more" if len(paths) > _MAX_NAMED else ""
    return f"{', '.join(named)}{more}"


def section(heading: str, text: str, trouble: str = "") -> str:
    """Return ``heading:`` and the indented lines of a text; ``heading: none (trouble)`` if empty.

    ``trouble`` says why there is no text. The heading begins with ``FIRST`` or ``LAST``: this says
    which end of the text is kept if there is no room for all of it. :func:`sections` splits a text
    into its sections.
    """
    if not text.strip():
        return f"{heading}: none ({trouble})"
    lines = escape_controls(text.rstrip()).splitlines()
    return "\n".join([f"{heading}:", *(f"  {line}".rstrip() for line in lines)])


def sections(text: str) -> list[str]:
    """Split a text into its sections; a text without headings is returned whole, as one part."""
    return [part for part in _HEADING.split(text) if part.strip()]


def is_section(part: str) -> bool:
    """Tell whether a part of a text begins with a section's heading."""
    return _HEADING.match(part) is not None
