"""Choose how a deployment is shown: in place on a terminal, or in plain lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from deployctl.output.screen import Output, Screen, Stream

# Values of TERM for terminals that cannot move their cursor (terminfo(5)), and TERM not set.
_DUMB = ("", "dumb", "unknown")


def display(stream: TextIO, env: Mapping[str, str]) -> Output:
    """Return the output for a stream: in place on a terminal, else in plain lines.

    Plain lines are also chosen where a CI system records the terminal (``CI`` is set), and on a
    terminal that cannot move its cursor.
    """
    if not stream.isatty() or env.get("CI") or env.get("TERM", "") in _DUMB:
        return Screen(Stream(stream))
    from deployctl.output.terminal import Terminal

    return Terminal(Stream(stream), colours=not env.get("NO_COLOR"))  # https://no-color.org
