"""A text of several pieces: for each a heading and below it the lines, indented.

So pieces can be told apart again where there is not room for all of them.
"""

from __future__ import annotations

import re

from deployctl.masking import escape_controls

FIRST, LAST = "first lines of ", "last lines of "

_HEADING = re.compile(rf"^(?={FIRST}|{LAST})", re.MULTILINE)


def section(heading: str, text: str, trouble: str = "") -> str:
    """``heading:`` and the lines, or ``heading: none (trouble)``.

    A heading begins with ``FIRST`` or ``LAST``, the end of the text that says most.
    """
    if not text.strip():
        return f"{heading}: none ({trouble})"
    lines = escape_controls(text.rstrip()).splitlines()
    return "\n".join([f"{heading}:", *(f"  {line}".rstrip() for line in lines)])


def sections(text: str) -> list[str]:
    """The sections that it is made of; a text without any is one part, as it is."""
    return [part for part in _HEADING.split(text) if part.strip()]


def is_section(part: str) -> bool:
    """Whether it begins with a heading."""
    return _HEADING.match(part) is not None
