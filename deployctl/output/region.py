"""Overwrite the last lines of a terminal in place.

The cursor always rests at the beginning of the first of them, and everything from there on was
written here. When the width of a terminal changes it wraps its lines anew and moves the cursor
along, so the lines to overwrite are found without counting rows.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence

from deployctl.output.screen import Stream

# ECMA-48: EL, ED, CUU. DEC private mode 7 (autowrap) is switched off, so that a line takes one row
# even where it is wider than computed.
_ERASE_LINE, _ERASE_BELOW, _UP = "\x1b[K", "\x1b[J", "\x1b[{}A"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
_DEFAULT_SIZE = (80, 24)  # columns and rows


class Region:
    """The lines at the end of a terminal that are overwritten in place; none at first."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._painted = ""

    def size(self) -> tuple[int, int]:
        """Return columns and rows of the terminal; 80 or 24 where it does not know one."""
        fd = self._stream.fileno()
        try:
            columns, rows = os.get_terminal_size(fd) if fd is not None else _DEFAULT_SIZE
        except OSError:
            columns, rows = _DEFAULT_SIZE
        return columns or _DEFAULT_SIZE[0], rows or _DEFAULT_SIZE[1]

    def paint(self, lines: Sequence[str]) -> None:
        """Show these lines, each narrower than the terminal, in place of the former ones."""
        up = _UP.format(len(lines) - 1) if len(lines) > 1 else ""
        text = f"{_ERASE_LINE}\r\n".join(lines)
        painted = f"\r{_NO_WRAP}{text}{_ERASE_BELOW}{up}\r{_WRAP}"
        if painted != self._painted and self._is_writable():
            self._painted = painted
            self._stream.write(painted)

    def clear(self) -> None:
        """Remove the lines."""
        if self._painted:
            self._painted = ""
            self._stream.write(f"\r{_ERASE_BELOW}")

    def _is_writable(self) -> bool:
        """Tell whether the terminal takes output at once and this process is in its foreground."""
        fd = self._stream.fileno()
        if fd is None:
            return False
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        try:
            return bool(poll.poll(0)) and os.tcgetpgrp(fd) == os.getpgrp()
        except OSError:  # not the controlling terminal: it has no foreground process group
            return True
