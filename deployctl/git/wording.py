"""Names of files, which may be of any bytes and many, in a sentence."""

from __future__ import annotations

import os
from collections.abc import Sequence

_NAMED = 3


def some_of(paths: Sequence[str]) -> str:
    """``a, b, c and 4 more``."""
    named = (os.fsencode(path).decode(errors="backslashreplace") for path in paths[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{', '.join(named)}{more}"
