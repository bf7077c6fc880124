"""Watching a deployment that another process carries out, by its log."""

from __future__ import annotations

import os
import time

from deployctl.output.log import read_log
from deployctl.output.screen import Output, heading
from deployctl.store import deployments
from deployctl.store.database import Database
from deployctl.store.logs import log_path
from deployctl.values.deployment import Deployment

_PAUSE = 0.2


class Follower:
    """Shows what is new in the log of a deployment each time it is asked to."""

    def __init__(self, db: Database, output: Output) -> None:
        self._db = db
        self._output = output
        self._number: int | None = None
        self._offset = 0
        self._inside: int | None = None  # the stage that begins there in the log

    def waiting(self, deployment: Deployment, reason: str) -> None:
        """Say why it waits."""
        self._output.waiting(f"{deployment.repo} #{deployment.number}: waiting: {reason}")

    def show_more(self, deployment: Deployment) -> None:
        if self._number != deployment.number:
            self._number, self._offset, self._inside = deployment.number, 0, None
        # In this order: what is in the log by then, the record knows where it belongs.
        size = _size(log_path(self._db.state_dir, deployment.number))
        if self._output.in_place:
            self._show_stages(deployment.number, size)
        self._show_until(size)

    def show_rest(self, deployment: Deployment) -> None:
        """The end of a finished deployment's log; its last line follows the outcome."""
        self.show_more(deployment)
        time.sleep(_PAUSE)
        self.show_more(deployment)

    def _show_stages(self, number: int, size: int) -> None:
        """Begin and end them where their output does; what is between them stays for the caller."""
        found = deployments.get(self._db, number)
        for stage in found.stages if found else ():
            if self._inside != stage.log_start:
                if not self._offset <= stage.log_start < size:
                    continue
                self._show_until(stage.log_start)
                self._output.begin_stage(stage)
                self._inside = stage.log_start
                self._offset += len(f"{heading(stage)}\n".encode())
            self._show_until(min(stage.log_end or size, size))
            if stage.log_end is not None and self._offset >= stage.log_end:
                self._output.end_stage(stage, "", None)
                self._inside = None

    def _show_until(self, end: int) -> None:
        if self._number is None or end <= self._offset:
            return
        for chunk in read_log(self._db.state_dir, self._number, self._offset, end):
            self._offset += len(chunk)
            self._output.raw(chunk)

    def until_finished(self, number: int, offset: int = 0) -> Deployment | None:
        """Show a deployment from this byte of its log to its end."""
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
