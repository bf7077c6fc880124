"""The manual, which travels inside the package: one Markdown file a topic."""

from __future__ import annotations

import difflib
import os

from deployctl.errors import UsageError

MANUAL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "manual")
_END = ".md"


def topics() -> dict[str, str]:
    """Each topic and its title, by name."""
    names = sorted(name for name in os.listdir(MANUAL) if name.endswith(_END))
    return {name.removesuffix(_END): _title(name) for name in names}


def read(topic: str) -> str:
    """The whole text of a topic; UsageError, with a guess, where there is none."""
    known = topics()
    if topic not in known:
        close = difflib.get_close_matches(topic, known, 1)
        guess = f", did you mean {close[0]}?" if close else ""
        raise UsageError(f"the manual has no topic {topic}{guess} (there are: {', '.join(known)})")
    with open(_path(topic + _END), encoding="utf-8") as file:
        return file.read()


def _title(name: str) -> str:
    with open(_path(name), encoding="utf-8") as file:
        return file.readline().strip("# \n")


def _path(name: str) -> str:
    return os.path.join(MANUAL, name)
