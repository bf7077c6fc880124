"""stdout and stderr as they are found: closed, narrow, in ASCII, or left by their reader."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from deployctl.values.masking import escape_controls


def have_streams() -> None:
    """Open what the caller has closed (``>&-``): else our first file would become its stdout."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def settle_streams() -> None:
    """Write what is left; a reader that is gone must not change the exit code (Python: 120)."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _silence(stream)


def say(stream: TextIO, text: str) -> bool:
    """Write a line -> whether anybody reads; what the encoding lacks is shown as ``\\xe9``."""
    encoding = stream.encoding or "utf-8"
    safe = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(f"{safe}\n")
        stream.flush()
    except (OSError, ValueError):
        _silence(stream)
        return False
    return True


def complain(message: str) -> None:
    """An error or a warning on stderr; one line says whose it is, several stand for themselves."""
    lines = escape_controls(message).splitlines()
    prefix = "deployctl: " if len(lines) == 1 else ""
    say(sys.stderr, "\n".join(prefix + line for line in lines))


def _silence(stream: TextIO) -> None:
    """Nobody reads any more; Python would complain of that once more at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
