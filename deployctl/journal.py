"""What happens in a deployment, told three times: to the record, to its log, to who watches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from deployctl.deployment import Deployment, Failure, StageRecord, StepRecord
from deployctl.errors import DeployctlError, RefusedError, in_words
from deployctl.logfile import LogFile, log_path
from deployctl.masking import Masker
from deployctl.output import Output
from deployctl.process import LastLines, Outcome
from deployctl.store import deployments
from deployctl.store.database import Database
from deployctl.times import duration


class StageFailed(Exception):
    """A stage did not succeed; ``failure`` says which step, how, and its last lines."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class StageJournal:
    """One running stage: its lines, its steps' output and their outcomes."""

    def __init__(self, name: str, log: LogFile, show: Output, masker: Masker) -> None:
        self.name = name
        self.steps: list[StepRecord] = []
        self._log = log
        self._show = show
        self._masker = masker
        self._last = LastLines()

    def line(self, text: str) -> None:
        text = self._masker.mask_text(text)
        self._log.line(text)
        self._show.line(text)

    def begin_step(self, command: str, last: LastLines | None = None) -> None:
        """``last`` keeps the end of its output, where that is not to be as long as usual."""
        self.line(f"$ {command}")
        self._log.begin_step()
        self._last = last or LastLines()

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
            self._log.raw(chunk)
            self._show.raw(chunk)


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

    def close(self) -> None:
        self._log.close()


def _ending(name: str, status: str, passed: float, why: str) -> str:
    word = "ok" if status == "succeeded" else status
    return f"<== {name}: {word}, {duration(passed)}" + (f": {why}" if why else "")
