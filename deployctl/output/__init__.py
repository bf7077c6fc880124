"""What a person is shown of a deployment, on a screen, in a pipe or in cron's mail."""

from __future__ import annotations

import codecs
from typing import Protocol, TextIO

from deployctl.values.deployment import Failure, StageRecord
from deployctl.values.masking import escape_controls
from deployctl.values.times import duration


class Output(Protocol):
    """Where the story of a deployment is shown while it is told; secrets are masked already.

    ``in_place``: whether stages are shown by their beginnings and ends. Elsewhere the lines of a
    log tell the same, so that of another process's deployment it is all that is to be shown.
    """

    @property
    def in_place(self) -> bool: ...

    def line(self, text: str) -> None:
        """One whole line of ours."""

    def raw(self, chunk: bytes) -> None:
        """What a step printed, as it came."""

    def waiting(self, text: str) -> None:
        """What is waited for; said again and again until something else is."""

    def begin_stage(self, stage: StageRecord) -> None:
        """What is told until its end belongs to this stage."""

    def begin_step(self, prompt: str, *, beside: bool = False) -> None:
        """The output that follows is that of a step, whose command is in this line.

        Or also that of a step which runs ``beside`` those that have begun before.
        """

    def end_stage(self, stage: StageRecord, why: str, failure: Failure | None) -> None:
        """How it ended; ``why`` it did not succeed."""

    def close(self) -> None:
        """Nothing more is told; what stood there for the moment goes."""


def heading(stage: StageRecord) -> str:
    """The line above what a stage prints."""
    return f"==> {stage.name}" + (f" on {stage.host}" if stage.host else "")


def prompt(command: str) -> str:
    """The line above what a step prints."""
    return f"$ {command}"


def ending(stage: StageRecord, why: str) -> str:
    """The line below what a stage printed."""
    took = "" if stage.status == "skipped" else f", {duration(stage.duration)}"
    usual = f", usually {duration(stage.usual)}" if stage.slow else ""
    told = f": {why}" if why else ""
    return f"<== {stage.name}: {stage.word}{took}{usual}{told}"


class Stream:
    """A text stream that falls silent when nobody reads it any more.

    A dropped ssh connection or a closed pager must not stop a deployment.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def write(self, text: str) -> None:
        """Show it now; what the encoding lacks is shown as ``\\xe9``."""
        if self._stream is None or not text:
            return
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def fileno(self) -> int | None:
        """None where nobody reads any more."""
        return self._stream.fileno() if self._stream is not None else None


class Screen:
    """Shows everything, in plain lines."""

    in_place = False

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._at_line_start = True
        self._waiting = False

    def line(self, text: str) -> None:
        self._waiting = False
        rest = self._decoder.decode(b"", final=True)
        self._write(rest if self._at_line_start and not rest else f"{rest}\n")
        self._write(f"{escape_controls(text)}\n")

    def raw(self, chunk: bytes) -> None:
        self._waiting = False
        self._write(escape_controls(self._decoder.decode(chunk)))

    def waiting(self, text: str) -> None:
        if not self._waiting:
            self.line(text)
            self._waiting = True

    def begin_stage(self, stage: StageRecord) -> None:
        self.line(heading(stage))

    def begin_step(self, prompt: str, *, beside: bool = False) -> None:
        self.line(prompt)

    def end_stage(self, stage: StageRecord, why: str, failure: Failure | None) -> None:
        self.line(ending(stage, why))

    def close(self) -> None:
        """Everything stays."""

    def _write(self, text: str) -> None:
        if text:
            self._at_line_start = text.endswith("\n")
            self._stream.write(text)


class Silence:
    """For the worker, whom nobody watches; the log has it all."""

    in_place = False

    def line(self, text: str) -> None:
        """Nobody is there."""

    def raw(self, chunk: bytes) -> None:
        """Nobody is there."""

    def waiting(self, text: str) -> None:
        """Nobody is there."""

    def begin_stage(self, stage: StageRecord) -> None:
        """Nobody is there."""

    def begin_step(self, prompt: str, *, beside: bool = False) -> None:
        """Nobody is there."""

    def end_stage(self, stage: StageRecord, why: str, failure: Failure | None) -> None:
        """Nobody is there."""

    def close(self) -> None:
        """Nobody is there."""
