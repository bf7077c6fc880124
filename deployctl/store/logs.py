"""Log files of deployments: all output of the steps, limited for each step, mode 0600.

A full disk must not fail a step, so writing to a log never raises: text that cannot be written is
left out.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable

# The bytes that are kept of one step's output: so many from its beginning, as many from its end.
KEPT_AT_EACH_END = 5 * 1024 * 1024
_BLOCK_SIZE = 64 * 1024  # bytes


def log_path(state_dir: str, number: int) -> str:
    """Return the path of a deployment's log file."""
    return os.path.join(state_dir, "logs", f"{number}.log")


def prune_logs(state_dir: str, before: float, is_kept: Callable[[int], bool]) -> None:
    """Remove the logs that were last written before that time, in seconds since the epoch.

    ``is_kept`` tells of the number of a deployment whether its log stays in any case.
    """
    directory = os.path.join(state_dir, "logs")
    numbers = (name.removesuffix(".log") for name in os.listdir(directory))
    for number in (int(number) for number in numbers if number.isdigit()):
        path = log_path(state_dir, number)
        with contextlib.suppress(OSError):
            if os.stat(path).st_mtime < before and not is_kept(number):
                os.unlink(path)


class LogFile:
    """A log file that is appended to; created if it is missing.

    It takes whole lines from deployctl (:meth:`line`), and the output of a step between
    :meth:`begin_step` and :meth:`end_step` (:meth:`raw`), of which at most the first and the last
    ``kept_at_each_end`` bytes are written.
    """

    def __init__(self, path: str, *, kept_at_each_end: int = KEPT_AT_EACH_END) -> None:
        self._fd: int | None = None
        self._head_limit = kept_at_each_end
        self._head_size = 0
        self._tail = _Tail(kept_at_each_end)
        self._at_line_start = True
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)

    def position(self) -> int:
        """Return the offset in the file, in bytes, at which the next line would begin."""
        if self._fd is None:
            return 0
        return os.fstat(self._fd).st_size + (not self._at_line_start)

    def line(self, text: str) -> None:
        """Write a text of deployctl as a line of its own; the current step's output ends here."""
        self.end_step()
        self._append_line(text)

    def begin_step(self) -> None:
        """Begin the output of another step, with a limit of its own."""
        self.end_step()
        self._head_size = 0

    def raw(self, chunk: bytes) -> None:
        """Take output of a step: its beginning is written at once, its end by :meth:`end_step`."""
        room = self._head_limit - self._head_size
        head, rest = chunk[:room], chunk[room:]
        self._head_size += len(head)
        self._append(head)
        self._tail.add(rest)

    def end_step(self) -> None:
        """Write the end of the step's output, after a line that says how many bytes are missing."""
        blocks, left_out = self._tail.take()
        if left_out:
            self._append_line(f"[{left_out} bytes of output are left out here]")
        for block in blocks:
            self._append(block)

    def close(self) -> None:
        """Write the rest of the current step's output and close the file; may be called twice."""
        self.end_step()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _append_line(self, text: str) -> None:
        start = "" if self._at_line_start else "\n"
        self._append(f"{start}{text}\n".encode("utf-8", "backslashreplace"))

    def _append(self, data: bytes | bytearray) -> None:
        if self._fd is None or not data:
            return
        with contextlib.suppress(OSError):
            os.write(self._fd, data)
            self._at_line_start = data.endswith(b"\n")


class _Tail:
    """The last ``limit`` bytes of an output.

    They are kept in blocks, since a single array would have to be copied to remove its beginning.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._clear()

    def _clear(self) -> None:
        self._blocks: deque[bytearray] = deque()
        self._size = 0
        self._left_out = 0

    def add(self, data: bytes) -> None:
        if self._blocks and len(self._blocks[-1]) + len(data) <= _BLOCK_SIZE:
            self._blocks[-1] += data
        elif data:
            self._blocks.append(bytearray(data))
        self._size += len(data)
        while self._blocks and self._size - len(self._blocks[0]) >= self._limit:
            self._count_left_out(len(self._blocks.popleft()))

    def take(self) -> tuple[deque[bytearray], int]:
        """Return the kept bytes and the number of bytes that were left out; begin anew."""
        surplus = max(self._size - self._limit, 0)
        if surplus:
            del self._blocks[0][:surplus]
            self._count_left_out(surplus)
        taken = self._blocks, self._left_out
        self._clear()
        return taken

    def _count_left_out(self, count: int) -> None:
        self._size -= count
        self._left_out += count
