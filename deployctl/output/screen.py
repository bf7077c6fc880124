"""Show a deployment to a person, in plain lines: on a screen, in a pipe or in cron's mail."""

from __future__ import annotations

import codecs
from typing import TextIO

from deployctl.values.deployment import Failure, StageRecord
from deployctl.values.masking import escape_controls
from deployctl.values.times import duration


class Output:
    """The interface for showing a running deployment; this class itself shows nothing.

    The worker uses this class itself, because nobody watches and the log file has everything.
    Secrets are masked before they get here. ``draws_stages`` tells whether begin_stage and
    end_stage draw the stages; where it is False, printing the lines of a log file shows the same.
    """

    draws_stages = False

    def line(self, text: str) -> None:
        """Show one whole line of deployctl itself, without its line break."""

    def raw(self, chunk: bytes) -> None:
        """Show output of a step, unchanged; a chunk may end within a line or a character."""

    def waiting(self, text: str) -> None:
        """Show what the deployment waits for; a call with the same text again shows nothing."""

    def begin_stage(self, stage: StageRecord) -> None:
        """Show that a stage begins; lines and output belong to it until end_stage."""

    def begin_step(self, heading: str, *, parallel: bool = False) -> None:
        """Show the command of a step, whose output follows.

        ``parallel``: steps that began before are still running, and so may print as well.
        """

    def end_stage(self, stage: StageRecord, why: str, failure: Failure | None) -> None:
        """Show how a stage ended, and ``why`` it did not succeed (empty: it did)."""

    def close(self) -> None:
        """Remove what is shown only temporarily; nothing is shown after this."""


def stage_heading(stage: StageRecord) -> str:
    """Return the line above the output of a stage."""
    return f"==> {stage.name}" + (f" on {stage.host}" if stage.host else "")


def step_heading(command: str) -> str:
    """Return the line above the output of a step."""
    return f"$ {command}"


def stage_ending(stage: StageRecord, why: str) -> str:
    """Return the line below the output of a stage; ``why`` is empty where it succeeded."""
    took = "" if stage.status == "skipped" else f", {duration(stage.duration)}"
    usual = f", usually {duration(stage.usual)}" if stage.slow else ""
    reason = f": {why}" if why else ""
    return f"<== {stage.name}: {stage.word}{took}{usual}{reason}"


class Stream:
    """A text stream that discards what is written once nobody reads it any more.

    A dropped ssh connection or a closed pager must not stop a deployment.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def write(self, text: str) -> None:
        """Write a text at once; a character that the encoding lacks is written as ``\\xe9``."""
        if self._stream is None or not text:
            return
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def fileno(self) -> int | None:
        """Return the file descriptor; None where nobody reads the stream any more."""
        return self._stream.fileno() if self._stream is not None else None


class Screen(Output):
    """An output that shows everything in plain lines."""

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
        self.line(stage_heading(stage))

    def begin_step(self, heading: str, *, parallel: bool = False) -> None:
        self.line(heading)

    def end_stage(self, stage: StageRecord, why: str, failure: Failure | None) -> None:
        self.line(stage_ending(stage, why))

    def _write(self, text: str) -> None:
        if text:
            self._at_line_start = text.endswith("\n")
            self._stream.write(text)
