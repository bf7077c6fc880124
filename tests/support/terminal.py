"""A terminal as a person sits at: a program runs in it, and what it shows can be read."""

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
    """Its screen holds what an xterm's would; nothing is read but while something is waited for."""

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
        """What can be read on it, without the blanks behind and below."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    @property
    def cursor(self) -> tuple[int, int]:
        """Column and row, from 0."""
        return self._screen.cursor.x, self._screen.cursor.y

    def colour(self, text: str) -> str:
        """That of the first place where the text stands."""
        for row, line in enumerate(self._screen.display):
            if text in line:
                return str(self._screen.buffer[row][line.index(text)].fg)
        raise AssertionError(f"{text!r} is not on {self.lines}")

    def wait_for(self, text: str, *, gone: bool = False) -> list[str]:
        """Until the text is there, or is not, -> all lines."""
        until = time.monotonic() + 30
        while (text in "\n".join(self.lines)) == gone:
            assert time.monotonic() < until, self.lines
            self._read()
        return self.lines

    def press(self, keys: bytes) -> None:
        os.write(self._leader, keys)

    def resize(self, columns: int, rows: int) -> None:
        self._screen.resize(rows, columns)
        _set_size(self._leader, columns, rows)

    def finish(self) -> int:
        """Read on until the program has ended -> its exit code."""
        while self._read():
            pass
        return self.process.wait(timeout=30)

    def hang_up(self) -> None:
        """What a connection that drops does to it."""
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
        """What comes within a moment; False at the end."""
        if not select.select([self._leader], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._leader, 65536)
        except OSError:  # Linux: nobody has the other end any more
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)


def _set_size(fd: int, columns: int, rows: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
