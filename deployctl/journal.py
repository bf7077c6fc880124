"""What happens in a deployment, told three times: to the record, to its log, to who watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from deployctl.errors import DeployctlError, RefusedError, in_words
from deployctl.output import Output, ending, heading, prompt
from deployctl.store import deployments, revisions
from deployctl.store.database import Database
from deployctl.store.logs import LogFile, log_path
from deployctl.system.process import LastLines, Outcome
from deployctl.values.deployment import Deployment, Failure, StageRecord, StepRecord
from deployctl.values.masking import Masker

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

    def __init__(
        self,
        name: str,
        log: LogFile,
        show: Output,
        masker: Masker,
        last_lines: Callable[[], LastLines],
    ) -> None:
        self.name = name
        self.steps: list[StepRecord] = []
        self._log = log
        self._show = show
        self._masker = masker
        self._last_lines = last_lines
        self._last = last_lines()
        self._log_start = 0
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
        self._log_start = self.enter_step(prompt(command))
        self._last = self._last_lines()

    def enter_step(self, prompt: str, *, beside: bool = False) -> int:
        """Tell of its beginning, ``beside`` others or alone -> where the log of it begins."""
        prompt = self._masker.mask_text(prompt)
        with self._alone:
            self._log.end_step()
            start = self._log.position()
            self._log.line(prompt)
            self._log.begin_step()
            self._show.begin_step(prompt, beside=beside)
        return start

    def record(self, command: str, outcome: Outcome, start: int) -> StepRecord:
        """What is kept of a step that has ended; its log began at ``start``."""
        with self._alone:
            self._log.end_step()
            end = self._log.position()
        command = self._masker.mask_text(command)
        return StepRecord(command, outcome.exit_code, outcome.duration, start, end)

    def output(self, chunk: bytes) -> None:
        self._tell(self._masker.mask(chunk))

    def end_step(self, command: str, outcome: Outcome) -> Outcome:
        """The outcome again: what is kept of the output is masked before half of it is cut off."""
        self._tell(self._masker.flush())
        self.steps.append(self.record(command, outcome, self._log_start))
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
        self._log_start = 0

    def line(self, text: str) -> None:
        self._stage.line(f"{self._prefix}{text}")

    def begin_step(self, command: str) -> None:
        self._last = LastLines()
        self._log_start = self._stage.enter_step(f"{self._prefix}{prompt(command)}", beside=True)

    def output(self, chunk: bytes) -> None:
        self._tell(self._masker.mask(chunk))

    def end_step(self, command: str, outcome: Outcome) -> Outcome:
        self._tell(self._masker.flush())
        if self._rest:
            self._tell(b"\n")
        self.records.append(self._stage.record(command, outcome, self._log_start))
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
    def stage(
        self, name: str, last_lines: Callable[[], LastLines] = LastLines
    ) -> Iterator[StageJournal]:
        """Tell of a stage; what goes wrong in it leaves as :class:`StageFailed`.

        ``last_lines`` makes what keeps the end of each step's output.
        """
        usual = revisions.usual_duration(self._db, self._number, name)
        start = self._log.position()
        record = StageRecord(name, "running", time.time(), log_start=start, usual=usual)
        # The way back is told of even on a full disk, and so is what failed.
        urgent = name.startswith("rollback")
        row = deployments.begin_stage(self._db, self._number, record, urgent=urgent)
        began = time.monotonic()
        stage = StageJournal(name, self._log, self._show, self._masker, last_lines)
        self._log.line(heading(record))
        self._show.begin_stage(record)
        status, why, failure = "cancelled", "", None
        try:
            yield stage
            status = "succeeded"
        except StageFailed as failed:
            status, failure = "failed", failed.failure
            raise
        except RefusedError as refused:
            why = self.masked(str(refused))
            raise
        except (DeployctlError, OSError) as error:
            failure = stage.failure(in_words(error), tail=getattr(error, "output", ""))
            status = "failed"
            raise StageFailed(failure) from error
        finally:
            passed = round(time.monotonic() - began, 3)
            ended = replace(record, status=status, duration=passed, steps=tuple(stage.steps))
            self._end(row, ended, why, failure, urgent=urgent)

    def _end(
        self, row: int, stage: StageRecord, why: str, failure: Failure | None, *, urgent: bool
    ) -> None:
        why = failure.message if failure is not None else why
        self._log.line(ending(stage, why))
        self._show.end_stage(stage, why, failure)
        stage = replace(stage, log_end=self._log.position())
        urgent = urgent or stage.status not in ("succeeded", "skipped")
        deployments.end_stage(self._db, row, stage, urgent=urgent)

    def skip(self, name: str, why: str) -> None:
        """Tell of a stage that does not run this time."""
        start = self._log.position()
        record = StageRecord(name, "skipped", time.time(), 0.0, log_start=start)
        row = deployments.begin_stage(self._db, self._number, record)
        self._end(row, record, self.masked(why), None, urgent=False)

    def close(self) -> None:
        self._log.close()
