"""Write to stdout and stderr, even if they are closed, ASCII only, or no longer read."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from deployctl.values.masking import escape_controls


def open_missing_streams() -> None:
    """Open descriptors 0, 1 and 2 on /dev/null where the caller has closed them (``>&-``).

    Otherwise the first file that we open would get such a number, and output would go into it.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def flush_streams() -> None:
    """Flush stdout and stderr.

    If the reader is gone, Python would fail to flush at exit and exit with 120; so flush here, and
    ignore the error.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _redirect_to_null(stream)


def write_line(stream: TextIO, text: str) -> bool:
    """Write a line; return False if the stream is closed or its reader is gone.

    A character that the stream's encoding lacks is written as an escape such as ``\\xe9``.
    """
    encoding = stream.encoding or "utf-8"
    safe = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(f"{safe}\n")
        stream.flush()
    except (OSError, ValueError):
        _redirect_to_null(stream)
        return False
    return True


def print_message(message: str) -> None:
    """Print an error, a warning or a hint on stderr.

    A message of one line gets the prefix ``deployctl:``; one of several lines gets none.
    """
    lines = escape_controls(message).splitlines()
    prefix = "deployctl: " if len(lines) == 1 else ""
    write_line(sys.stderr, "\n".join(prefix + line for line in lines))


def _redirect_to_null(stream: TextIO) -> None:
    """Point the stream at /dev/null, so that Python reports no second write error at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
