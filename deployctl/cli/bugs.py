"""Write a report of a bug in deployctl to a file."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback

from deployctl import __version__


def write_report(bug: BaseException) -> str:
    """Write the traceback and the versions to a new file of mode 0600 and return its path."""
    fd, path = tempfile.mkstemp(prefix="deployctl-bug-", suffix=".log", text=True)
    with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"deployctl {__version__}, Python {platform.python_version()}\n")
        file.write(f"command: {' '.join(sys.argv[1:2])}\n\n")
        file.write("".join(traceback.format_exception(bug)))
    return path
