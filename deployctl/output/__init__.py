"""The one writer to a person's screen (or pipe, or cron's mail)."""

from __future__ import annotations

import codecs
from typing import Protocol, TextIO

from deployctl.masking import escape_controls


class Output(Protocol):
    """Where the story of a deployment is shown while it is told."""

    def line(self, text: str) -> None:
        """One whole line of ours."""

    def raw(self, chunk: bytes) -> None:
        """What a step printed, as it came, secrets already masked."""


class Screen:
    """Shows everything on a text stream; when nobody reads any more, it falls silent.

    A dropped ssh connection or a closed pager must not stop a deployment.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._at_line_start = True

    def line(self, text: str) -> None:
        rest = self._decoder.decode(b"", final=True)
        self._write(rest if self._at_line_start and not rest else f"{rest}\n")
        self._write(f"{escape_controls(text)}\n")

    def raw(self, chunk: bytes) -> None:
        self._write(escape_controls(self._decoder.decode(chunk)))

    def _write(self, text: str) -> None:
        if self._stream is None or not text:
            return
        self._at_line_start = text.endswith("\n")
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None


class Silence:
    """For the worker, whom nobody watches; the log has it all."""

    def line(self, text: str) -> None:
        """Nobody is there."""

    def raw(self, chunk: bytes) -> None:
        """Nobody is there."""
