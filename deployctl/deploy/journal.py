"""The journal of a running deployment: it writes to the record, the log file and the screen.

:class:`Journal` is for the whole deployment, :class:`StageJournal` for one stage, and
:class:`StepJournal` for steps that run one after the other. Secrets are masked here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from deployctl.errors import DeployctlError, RefusedError, in_words
from deployctl.output.screen import Output, stage_ending, stage_heading, step_heading
from deployctl.store import deployments
from deployctl.store.database import Database
from deployctl.store.logs import LogFile, log_path
from deployctl.system.process import LastLines, StepOutcome
from deployctl.values.deployment import LEFT_LIVE, Deployment, Failure, StageRecord, StepRecord
from deployctl.values.masking import Masker

_LONGEST_LINE = 8 * 1024  # bytes; longer lines of parallel steps are broken


class StageFailed(Exception):
    """A stage has failed; ``failure`` says which step, how, and its last lines of output."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class StageJournal:
    """The journal of one running stage.

    ``step`` is the journal of its steps if they run one after the other. Methods that write may be
    called by several threads at once.
    """

    def __init__(
        self,
        name: str,
        log: LogFile,
        output: Output,
        masker: Masker,
        last_lines: Callable[[], LastLines],
    ) -> None:
        self.name = name
        self._log = log
        self._output = output
        self._masker = masker
        self._write_lock = threading.Lock()
        self.step = StepJournal(self, masker, last_lines)
        self._steps = [self.step]

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """The records of the steps that have ended; parallel steps in order of position."""
        return tuple(record for step in self._steps for record in step.records)

    def parallel_step(self, position: int) -> StepJournal:
        """Return the journal of a step that runs in parallel with others, in its own thread.

        ``position`` is counted from 1 and stands in front of each line, as ``[1] ``.
        """
        step = StepJournal(self, self._masker.for_new_stream(), LastLines, f"[{position}] ")
        self._steps.append(step)
        return step

    def line(self, text: str) -> None:
        """Write one line of deployctl's own to the log and the screen, with secrets masked."""
        text = self._masker.mask_text(text)
        with self._write_lock:
            self._log.line(text)
            self._output.line(text)

    def write(self, chunk: bytes) -> None:
        """Write output of a step to the log and the screen; the caller has masked secrets."""
        with self._write_lock:
            self._log.raw(chunk)
            self._output.raw(chunk)

    def begin_step(self, heading: str, *, parallel: bool) -> int:
        """Log and show that a step begins; return the offset in the log where its part begins.

        The offset is in bytes. ``heading`` is the line above its output, such as ``$ make``.
        ``parallel`` tells whether other steps run at the same time.
        """
        heading = self._masker.mask_text(heading)
        with self._write_lock:
            self._log.end_step()
            start = self._log.position()
            self._log.line(heading)
            self._log.begin_step()
            self._output.begin_step(heading, parallel=parallel)
        return start

    def end_step(self, command: str, outcome: StepOutcome, start: int) -> StepRecord:
        """End the step's part of the log; return the record of the step.

        ``start`` is the offset that begin_step returned.
        """
        with self._write_lock:
            self._log.end_step()
            end = self._log.position()
        command = self._masker.mask_text(command)
        return StepRecord(command, outcome.exit_code, outcome.duration, start, end)

    def failure(self, message: str, *, command: str | None = None, tail: str = "") -> Failure:
        """Return a Failure of this stage, with secrets masked.

        ``command`` is the command that failed, None if there was none; ``tail`` is the last lines
        of its output.
        """
        return Failure(
            stage=self.name,
            message=self._masker.mask_text(message),
            command=self._masker.mask_text(command) if command else None,
            tail=self._masker.mask_text(tail),
        )


class StepJournal:
    """The journal of steps that run one after the other; ``records`` holds those that have ended.

    ``prefix`` is empty, or stands in front of each line of a step that runs in parallel with
    others. With a prefix the output is written in whole lines, so that the lines of two steps do
    not mix. ``last_lines`` makes the object that keeps the last lines of one step's output.
    """

    def __init__(
        self,
        stage: StageJournal,
        masker: Masker,
        last_lines: Callable[[], LastLines],
        prefix: str = "",
    ) -> None:
        self.records: list[StepRecord] = []
        self._stage = stage
        self._masker = masker
        self._last_lines = last_lines
        self._last = last_lines()
        self._prefix = prefix
        self._unfinished_line = b""
        self._log_start = 0

    def line(self, text: str) -> None:
        """Write one line of deployctl's own about a step to the log and the screen."""
        self._stage.line(f"{self._prefix}{text}")

    def begin_step(self, command: str) -> None:
        """Log and show that a step begins, by its command as a person would type it."""
        self._last = self._last_lines()
        text = f"{self._prefix}{step_heading(command)}"
        self._log_start = self._stage.begin_step(text, parallel=bool(self._prefix))

    def output(self, chunk: bytes) -> None:
        """Write a chunk of output of the running step, with secrets masked.

        The masker may hold back the end of a chunk until the next one, as it may be the first half
        of a secret.
        """
        self._write(self._masker.mask(chunk))

    def end_step(self, command: str, outcome: StepOutcome) -> StepOutcome:
        """Record how the step ended; return the outcome with its last lines of output, masked.

        The output is masked before it is cut to the last lines, so that no half of a secret is
        shown.
        """
        self._write(self._masker.flush())
        if self._unfinished_line:
            self._write(b"\n")
        self.records.append(self._stage.end_step(command, outcome, self._log_start))
        return replace(outcome, tail=self._last.tail())

    def _write(self, chunk: bytes) -> None:
        if not chunk:
            return
        self._last(chunk)
        shown = self._whole_lines(chunk) if self._prefix else chunk
        if shown:
            self._stage.write(shown)

    def _whole_lines(self, chunk: bytes) -> bytes:
        """Return the lines that are complete, each with the prefix; keep the rest for later."""
        *lines, self._unfinished_line = (self._unfinished_line + chunk).split(b"\n")
        if len(self._unfinished_line) > _LONGEST_LINE:
            lines, self._unfinished_line = [*lines, self._unfinished_line], b""
        prefix = self._prefix.encode()
        return b"".join(prefix + line + b"\n" for line in lines)


class Journal:
    """The journal of one deployment while it runs."""

    def __init__(
        self, db: Database, deployment: Deployment, *, masker: Masker, output: Output
    ) -> None:
        self._db = db
        self._number = deployment.number
        self._masker = masker
        self._output = output
        self._log = LogFile(log_path(db.state_dir, deployment.number))

    def line(self, text: str) -> None:
        """Write one line of deployctl's own to the log and the screen, with secrets masked."""
        text = self._masker.mask_text(text)
        self._log.line(text)
        self._output.line(text)

    def masked(self, text: str) -> str:
        """Return a text, such as the subject of a commit, with secrets masked."""
        return self._masker.mask_text(text)

    def note(self, **columns: str | int | None) -> None:
        """Write columns of the deployment to the record, in a transaction of its own.

        ``columns`` are columns of the table ``deployments``, such as ``revision``.
        """
        deployments.update_columns(self._db, self._number, **columns)

    @contextmanager
    def stage(
        self, name: str, last_lines: Callable[[], LastLines] = LastLines
    ) -> Iterator[StageJournal]:
        """Record, log and show a stage while the block runs; yield its journal.

        A DeployctlError or OSError in the block is recorded as the failure of the stage and raised
        as StageFailed. StageFailed and RefusedError pass through unchanged. The status of the
        stage is "succeeded", "failed", or "cancelled" after RefusedError or any other exception.
        ``last_lines`` makes the object that keeps the last lines of each step's output.
        """
        usual = deployments.usual_duration(self._db, self._number, name)
        start = self._log.position()
        record = StageRecord(name, "running", time.time(), log_start=start, usual=usual)
        # Urgent writes free the reserve file on a full disk: the way back, and a stage that did
        # not succeed (see _end), must be recorded even then.
        urgent = name.startswith("rollback")
        row = deployments.begin_stage(self._db, self._number, record, urgent=urgent)
        began = time.monotonic()
        stage = StageJournal(name, self._log, self._output, self._masker, last_lines)
        self._log.line(stage_heading(record))
        self._output.begin_stage(record)
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
            ended = replace(record, status=status, duration=passed, steps=stage.steps)
            self._end(row, ended, why, failure, urgent=urgent)

    def _end(
        self, row: int, stage: StageRecord, why: str, failure: Failure | None, *, urgent: bool
    ) -> None:
        """Log, show and record the end of a stage.

        ``row`` is the id of the stage in the record. ``why`` is the reason if the stage did not
        run or was refused; after a failure the message of ``failure`` is taken instead.
        """
        why = failure.message if failure is not None else why
        self._log.line(stage_ending(stage, why))
        self._output.end_stage(stage, why, failure)
        stage = replace(stage, log_end=self._log.position())
        urgent = urgent or stage.status not in ("succeeded", "skipped")
        deployments.end_stage(self._db, row, stage, urgent=urgent)

    def skip(self, name: str, why: str) -> None:
        """Record, log and show a stage that does not run this time, and why."""
        start = self._log.position()
        record = StageRecord(name, "skipped", time.time(), 0.0, log_start=start)
        row = deployments.begin_stage(self._db, self._number, record)
        self._end(row, record, self.masked(why), None, urgent=False)

    def close(self) -> None:
        """Close the log file."""
        self._log.close()


def first_line(deployment: Deployment) -> str:
    """Return the first line of a deployment's log: task, target, trigger, actor and host."""
    target = deployment.rollback_to or deployment.wanted_revision or deployment.ref
    task = f"{deployment.task} {target}" if target else deployment.task
    origin = f"({deployment.trigger}, asked by {deployment.actor})"
    return f"{deployment.repo} #{deployment.number}: {task} {origin} on {os.uname().nodename}"


def last_line(deployment: Deployment, held: str | None = None) -> str:
    """Return the last line of a deployment's log: status, reason, what is live and held now.

    ``held`` is the revision that the deployment went back from and holds, None if it holds none.
    """
    revision = (deployment.revision or "")[:12]
    before = (deployment.previous_revision or "")[:12]
    had_live = deployment.previous_revision or deployment.previous_link
    stays = "what was live stays live" if had_live else "nothing is live"
    if deployment.phase == LEFT_LIVE:
        stays = f"{revision} is live, and not well"
    result = {
        "succeeded": f"{revision} is live",
        "rolled_back": f"{revision} failed; {before} is live again",
        "degraded": "DEGRADED: it failed and going back failed too; look at it now",
        "failed": f"failed; {stays}",
        "cancelled": f"cancelled; {f'{before} is live' if had_live else 'nothing is live'}",
    }
    hold = f"; {held[:12]} is held (deployctl resume {deployment.repo})" if held else ""
    reason = f" ({deployment.reason})" if deployment.reason else ""
    return f"{deployment.repo} #{deployment.number}: {result[deployment.status]}{hold}{reason}"
