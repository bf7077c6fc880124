"""Run a program in a terminal, and read what the terminal shows."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

import pyte


class Terminal:
    """A terminal with a program in it; its screen shows what an xterm would show.

    The program's output is read only inside :meth:`wait_for` and :meth:`finish`.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        columns: int = 80,
        rows: int = 30,
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""
        self._leader, follower = pty.openpty()
        _set_size(follower, columns, rows)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *argv],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={"TERM": "xterm", **env},
        )
        os.close(follower)

    @property
    def lines(self) -> list[str]:
        """The lines on the screen, without blanks at their ends and empty lines at the bottom."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    @property
    def cursor(self) -> tuple[int, int]:
        """Column and row of the cursor, counted from 0."""
        return self._screen.cursor.x, self._screen.cursor.y

    def colour(self, text: str) -> str:
        """Return the foreground colour of the text where it first appears on the screen."""
        for row, line in enumerate(self._screen.display):
            if text in line:
                return str(self._screen.buffer[row][line.index(text)].fg)
        raise AssertionError(f"{text!r} is not on {self.lines}")

    def wait_for(self, text: str, *, gone: bool = False) -> list[str]:
        """Wait until the screen shows the text (``gone``: no longer shows it); return all lines.

        It fails after 30 seconds.
        """
        deadline = time.monotonic() + 30
        while (text in "\n".join(self.lines)) == gone:
            assert time.monotonic() < deadline, self.lines
            self._read()
        return self.lines

    def press(self, keys: bytes) -> None:
        """Type these characters."""
        os.write(self._leader, keys)

    def resize(self, columns: int, rows: int) -> None:
        self._screen.resize(rows, columns)
        _set_size(self._leader, columns, rows)

    def finish(self) -> int:
        """Read until the program has ended; return its exit code."""
        while self._read():
            pass
        return self.process.wait(timeout=30)

    def hang_up(self) -> None:
        """Close the terminal, as a dropped connection does; the kernel sends SIGHUP."""
        if self._leader >= 0:
            os.close(self._leader)
            self._leader = -1

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.hang_up()

    def _read(self) -> bool:
        """Read what is there within 0.1 seconds; return False at the end of the output."""
        if not select.select([self._leader], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._leader, 65536)
        except OSError:  # Linux fails with EIO once no process has the other end open
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)


def _set_size(fd: int, columns: int, rows: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
