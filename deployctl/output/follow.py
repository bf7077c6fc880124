"""Show a deployment that another process runs, by reading its log."""

from __future__ import annotations

import os
import time

from deployctl.output.log import read_log
from deployctl.output.screen import Output, stage_heading
from deployctl.store import deployments
from deployctl.store.database import Database
from deployctl.store.logs import log_path
from deployctl.values.deployment import Deployment

_PAUSE = 0.2  # seconds between two reads of the log


class Follower:
    """A reader that shows, at each call, what was added to the log of a deployment."""

    def __init__(self, db: Database, output: Output) -> None:
        self._db = db
        self._output = output
        self._number: int | None = None
        self._offset = 0  # bytes of the log that have been shown
        self._stage_start: int | None = None  # offset in the log of the stage that is shown

    def waiting(self, deployment: Deployment, reason: str) -> None:
        """Show why a queued deployment waits."""
        self._output.waiting(f"{deployment.repo} #{deployment.number}: waiting: {reason}")

    def show_more(self, deployment: Deployment) -> None:
        """Show what was added to the log since the last call; a new deployment from its start."""
        if self._number != deployment.number:
            self._number, self._offset, self._stage_start = deployment.number, 0, None
        # The size is read before the record, which then knows the stage of every byte up to it.
        size = _size(log_path(self._db.state_dir, deployment.number))
        if self._output.draws_stages:
            self._show_stages(deployment.number, size)
        self._show_until(size)

    def show_rest(self, deployment: Deployment) -> None:
        """Show the end of a finished deployment's log.

        The last line is written shortly after the outcome is recorded, hence the second read.
        """
        self.show_more(deployment)
        time.sleep(_PAUSE)
        self.show_more(deployment)

    def _show_stages(self, number: int, size: int) -> None:
        """Show the log up to ``size``, and begin and end each stage where its output does.

        Lines after the last stage are left to the caller.
        """
        found = deployments.get(self._db, number)
        for stage in found.stages if found else ():
            if self._stage_start != stage.log_start:
                if not self._offset <= stage.log_start < size:
                    continue
                self._show_until(stage.log_start)
                self._output.begin_stage(stage)
                self._stage_start = stage.log_start
                self._offset += len(f"{stage_heading(stage)}\n".encode())
            self._show_until(min(stage.log_end or size, size))
            if stage.log_end is not None and self._offset >= stage.log_end:
                self._output.end_stage(stage, "", None)
                self._stage_start = None

    def _show_until(self, end: int) -> None:
        """Show the log from what was shown last to the offset ``end``."""
        if self._number is None or end <= self._offset:
            return
        for chunk in read_log(self._db.state_dir, self._number, self._offset, end):
            self._offset += len(chunk)
            self._output.raw(chunk)

    def until_finished(self, number: int, offset: int = 0) -> Deployment | None:
        """Show a deployment from a byte offset of its log on, and return it when it has finished.

        None where there is no deployment of that number.
        """
        self._number, self._offset = number, offset
        while (deployment := deployments.get(self._db, number)) is not None:
            if deployment.finished:
                self.show_rest(deployment)
                return deployment
            if deployment.status == "running":
                self.show_more(deployment)
            time.sleep(_PAUSE)
        return None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
