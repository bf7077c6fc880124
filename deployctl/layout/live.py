"""What answers now, whatever the layout."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Live:
    """What answers now: a revision, and the release directory's name (None in place).

    ``link`` is where ``current`` points, to the letter, so that it can be put back even where
    somebody else made it.
    """

    revision: str | None
    release: str | None = None
    link: str | None = None
