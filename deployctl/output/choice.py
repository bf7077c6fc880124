"""Which of the ways to show a deployment suits where it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from deployctl.output.screen import Output, Screen, Stream

# What a terminal calls itself that cannot move its cursor (terminfo(5)); one that says nothing too.
_DUMB = ("", "dumb", "unknown")


def display(stream: TextIO, env: Mapping[str, str]) -> Output:
    """In place on a terminal, in plain lines elsewhere and where CI records what it sees."""
    if not stream.isatty() or env.get("CI") or env.get("TERM", "") in _DUMB:
        return Screen(Stream(stream))
    from deployctl.output.terminal import Terminal

    return Terminal(Stream(stream), colours=not env.get("NO_COLOR"))  # https://no-color.org
