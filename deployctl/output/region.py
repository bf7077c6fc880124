"""The last lines of a terminal, written again and again in place.

The cursor always waits at the beginning of the first of them, and everything from there on is
ours: a terminal that wraps its lines anew when its width changes takes the cursor along, so what
is to be overwritten is found without counting rows.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence

from deployctl.output.screen import Stream

# ECMA-48: EL, ED, CUU; DEC private mode 7: a line that is wider than we think does not become two.
_REST_OF_LINE, _ALL_BELOW, _UP = "\x1b[K", "\x1b[J", "\x1b[{}A"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
_SIZE = (80, 24)


class Region:
    """Those lines; empty at first."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._painted = ""

    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal; what it does not know is as usual."""
        fd = self._stream.fileno()
        try:
            columns, rows = os.get_terminal_size(fd) if fd is not None else _SIZE
        except OSError:
            columns, rows = _SIZE
        return columns or _SIZE[0], rows or _SIZE[1]

    def paint(self, lines: Sequence[str]) -> None:
        """Show these lines, each narrower than the terminal, in the place of what is there."""
        up = _UP.format(len(lines) - 1) if len(lines) > 1 else ""
        text = f"{_REST_OF_LINE}\r\n".join(lines)
        painted = f"\r{_NO_WRAP}{text}{_ALL_BELOW}{up}\r{_WRAP}"
        if painted != self._painted and self._is_ours():
            self._painted = painted
            self._stream.write(painted)

    def clear(self) -> None:
        if self._painted:
            self._painted = ""
            self._stream.write(f"\r{_ALL_BELOW}")

    def _is_ours(self) -> bool:
        """Whether the terminal takes something at once, and is not lent to another job now."""
        fd = self._stream.fileno()
        if fd is None:
            return False
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        try:
            return bool(poll.poll(0)) and os.tcgetpgrp(fd) == os.getpgrp()
        except OSError:  # it is not the one that controls us: nobody lends it
            return True
