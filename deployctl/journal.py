"""What happens in a deployment, told three times: to the record, to its log, to who watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from deployctl.deployment import Deployment, Failure, StageRecord, StepRecord
from deployctl.errors import DeployctlError, RefusedError, in_words
from deployctl.logfile import LogFile, log_path
from deployctl.masking import Masker
from deployctl.output import Output
from deployctl.process import LastLines, Outcome
from deployctl.store import deployments
from deployctl.store.database import Database
from deployctl.times import duration

_LONGEST_LINE = 8 * 1024  # bytes; of steps that run beside each other, longer ones are broken


class StageFailed(Exception):
    """A stage did not succeed; ``failure`` says which step, how, and its last lines."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class StepJournal(Protocol):
    """Who is told of one step after the other."""

    def line(self, text: str) -> None:
        """A line of ours."""

    def begin_step(self, command: str) -> None:
        """Another step begins."""

    def output(self, chunk: bytes) -> None:
        """What it prints, as it comes."""

    def end_step(self, command: str, outcome: Outcome) -> Outcome:
        """The outcome again, with a tail that can be shown."""


class StageJournal:
    """One running stage: its lines, its steps' output and their outcomes."""

    def __init__(self, name: str, log: LogFile, show: Output, masker: Masker) -> None:
        self.name = name
        self.steps: list[StepRecord] = []
        self._log = log
        self._show = show
        self._masker = masker
        self._last = LastLines()
        self._alone = threading.Lock()

    def line(self, text: str) -> None:
        text = self._masker.mask_text(text)
        with self._alone:
            self._log.line(text)
            self._show.line(text)

    def beside(self, position: int) -> _Beside:
        """Who is told of a step that runs beside others, from a thread of its own."""
        return _Beside(self, f"[{position}] ", self._masker.another())

    def gather(self, steps: Iterable[_Beside]) -> None:
        """What became of the steps that ran beside each other."""
        for step in steps:
            self.steps += step.records

    def write(self, chunk: bytes) -> None:
        """Masked output for the log and the screen."""
        with self._alone:
            self._log.raw(chunk)
            self._show.raw(chunk)

    def begin_step(self, command: str) -> None:
        self.line(f"$ {command}")
        self._log.begin_step()
        self._last = LastLines()

    def output(self, chunk: bytes) -> None:
        self._tell(self._masker.mask(chunk))

    def end_step(self, command: str, outcome: Outcome) -> Outcome:
        """The outcome again: what is kept of the output is masked before half of it is cut off."""
        self._tell(self._masker.flush())
        self._log.end_step()
        record = StepRecord(self._masker.mask_text(command), outcome.exit_code, outcome.duration)
        self.steps.append(record)
        return replace(outcome, tail=self._last.tail())

    def failure(self, message: str, *, command: str | None = None, tail: str = "") -> Failure:
        """A failure of this stage, without a secret in it."""
        return Failure(
            stage=self.name,
            message=self._masker.mask_text(message),
            command=self._masker.mask_text(command) if command else None,
            tail=self._masker.mask_text(tail),
        )

    def _tell(self, chunk: bytes) -> None:
        if chunk:
            self._last(chunk)
            self.write(chunk)


class _Beside:
    """One of several steps that run at the same time: its lines have its number in front."""

    def __init__(self, stage: StageJournal, prefix: str, masker: Masker) -> None:
        self.records: list[StepRecord] = []
        self._stage = stage
        self._prefix = prefix
        self._masker = masker
        self._last = LastLines()
        self._rest = b""

    def line(self, text: str) -> None:
        self._stage.line(f"{self._prefix}{text}")

    def begin_step(self, command: str) -> None:
        self._last = LastLines()
        self.line(f"$ {command}")

    def output(self, chunk: bytes) -> None:
        self._tell(self._masker.mask(chunk))

    def end_step(self, command: str, outcome: Outcome) -> Outcome:
        self._tell(self._masker.flush())
        if self._rest:
            self._tell(b"\n")
        command = self._masker.mask_text(command)
        self.records.append(StepRecord(command, outcome.exit_code, outcome.duration))
        return replace(outcome, tail=self._last.tail())

    def _tell(self, chunk: bytes) -> None:
        """Whole lines only, so that they do not run into those of the others."""
        self._last(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], b""
        prefix = self._prefix.encode()
        if lines:
            self._stage.write(b"".join(prefix + line + b"\n" for line in lines))


class Journal:
    """The log and the record of one deployment while it runs."""

    def __init__(
        self, db: Database, deployment: Deployment, *, masker: Masker, show: Output
    ) -> None:
        self._db = db
        self._number = deployment.number
        self._masker = masker
        self._show = show
        self._log = LogFile(log_path(db.state_dir, deployment.number))

    def line(self, text: str) -> None:
        text = self._masker.mask_text(text)
        self._log.line(text)
        self._show.line(text)

    def masked(self, text: str) -> str:
        """A text from elsewhere, such as a commit's subject, without a secret in it."""
        return self._masker.mask_text(text)

    def note(self, **columns: str | int | None) -> None:
        """Write down what became known of the deployment, before it is acted upon."""
        deployments.note(self._db, self._number, **columns)

    @contextmanager
    def stage(self, name: str) -> Iterator[StageJournal]:
        """Tell of a stage; what goes wrong in it leaves as :class:`StageFailed`."""
        record = StageRecord(name, "running", time.time(), log_start=self._log.position())
        # The way back is told of even on a full disk, and so is what failed.
        urgent = name.startswith("rollback")
        row = deployments.begin_stage(self._db, self._number, record, urgent=urgent)
        began = time.monotonic()
        stage = StageJournal(name, self._log, self._show, self._masker)
        self.line(f"==> {name}")
        status, why = "cancelled", ""
        try:
            yield stage
            status = "succeeded"
        except StageFailed as failed:
            status, why = "failed", failed.failure.message
            raise
        except RefusedError as refused:
            why = str(refused)
            raise
        except (DeployctlError, OSError) as error:
            failure = stage.failure(in_words(error), tail=getattr(error, "output", ""))
            status, why = "failed", failure.message
            raise StageFailed(failure) from error
        finally:
            passed = round(time.monotonic() - began, 3)
            self.line(_ending(name, status, passed, why))
            end = self._log.position()
            ended = replace(
                record, status=status, duration=passed, log_end=end, steps=tuple(stage.steps)
            )
            urgent = urgent or status != "succeeded"
            deployments.end_stage(self._db, row, ended, urgent=urgent)

    def skip(self, name: str, why: str) -> None:
        """Tell of a stage that does not run this time."""
        position = self._log.position()
        self.line(f"<== {name}: skipped: {why}")
        record = StageRecord(
            name, "skipped", time.time(), 0.0, None, position, self._log.position()
        )
        row = deployments.begin_stage(self._db, self._number, record)
        deployments.end_stage(self._db, row, record)

    def close(self) -> None:
        self._log.close()


def _ending(name: str, status: str, passed: float, why: str) -> str:
    word = "ok" if status == "succeeded" else status
    return f"<== {name}: {word}, {duration(passed)}" + (f": {why}" if why else "")
