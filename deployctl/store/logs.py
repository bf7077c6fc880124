"""The log of one deployment: everything its steps printed, capped per step, private.

A full disk must not fail a step, so writing here never raises: what cannot be kept is left out.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Collection

# What is kept of one step's output: this much from its beginning and as much from its end.
HALF = 5 * 1024 * 1024
_BLOCK = 64 * 1024


def log_path(state_dir: str, number: int) -> str:
    return os.path.join(state_dir, "logs", f"{number}.log")


def prune_logs(state_dir: str, before: float, kept: Collection[int]) -> None:
    """Remove the logs whose last line was written before then, but for those of ``kept``."""
    directory = os.path.join(state_dir, "logs")
    numbers = (name.removesuffix(".log") for name in os.listdir(directory))
    for number in (int(number) for number in numbers if number.isdigit()):
        path = log_path(state_dir, number)
        with contextlib.suppress(OSError):
            if number not in kept and os.stat(path).st_mtime < before:
                os.unlink(path)


class LogFile:
    """Appends to one file; :meth:`begin_step` and :meth:`end_step` bound what a step may fill."""

    def __init__(self, path: str, *, half: int = HALF) -> None:
        self._fd: int | None = None
        self._half = half
        self._head_size = 0
        self._tail = _Tail(half)
        self._at_line_start = True
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)

    def position(self) -> int:
        """Where the next line of ours begins."""
        if self._fd is None:
            return 0
        return os.fstat(self._fd).st_size + (not self._at_line_start)

    def line(self, text: str) -> None:
        """One whole line of ours, on a line of its own."""
        self.end_step()
        self._append_line(text)

    def begin_step(self) -> None:
        """From here on the output of another step is counted."""
        self.end_step()
        self._head_size = 0

    def raw(self, chunk: bytes) -> None:
        """Output of a step: the head is written at once, the tail when the step ends."""
        room = self._half - self._head_size
        head, rest = chunk[:room], chunk[room:]
        self._head_size += len(head)
        self._append(head)
        self._tail.add(rest)

    def end_step(self) -> None:
        """Write the tail that was kept, after a line that tells what is missing."""
        blocks, left_out = self._tail.take()
        if left_out:
            self._append_line(f"[{left_out} bytes of output are left out here]")
        for block in blocks:
            self._append(block)

    def close(self) -> None:
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
    """The last bytes of an output, in blocks: one long array would be copied to be shortened."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._clear()

    def _clear(self) -> None:
        self._blocks: deque[bytearray] = deque()
        self._size = 0
        self._left_out = 0

    def add(self, data: bytes) -> None:
        if self._blocks and len(self._blocks[-1]) + len(data) <= _BLOCK:
            self._blocks[-1] += data
        elif data:
            self._blocks.append(bytearray(data))
        self._size += len(data)
        while self._blocks and self._size - len(self._blocks[0]) >= self._most:
            self._leave_out(len(self._blocks.popleft()))

    def take(self) -> tuple[deque[bytearray], int]:
        """What there is, at most so many bytes, and how many more there were; nothing is left."""
        surplus = max(self._size - self._most, 0)
        if surplus:
            del self._blocks[0][:surplus]
            self._leave_out(surplus)
        taken = self._blocks, self._left_out
        self._clear()
        return taken

    def _leave_out(self, count: int) -> None:
        self._size -= count
        self._left_out += count
