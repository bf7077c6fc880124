"""Watching a deployment that another process carries out, by its log."""

from __future__ import annotations

import time
from collections.abc import Iterator

from deployctl.deployment import Deployment
from deployctl.logfile import log_path
from deployctl.output import Output
from deployctl.store import deployments
from deployctl.store.database import Database

_PAUSE = 0.2
_CHUNK = 64 * 1024


class Follower:
    """Shows what is new in the log of a deployment each time it is asked to."""

    def __init__(self, db: Database, show: Output) -> None:
        self._db = db
        self._show = show
        self._number: int | None = None
        self._offset = 0
        self._told_waiting = False

    def waiting(self, deployment: Deployment, reason: str) -> None:
        """Say once why it waits."""
        if not self._told_waiting:
            self._told_waiting = True
            self._show.line(f"{deployment.repo} #{deployment.number}: waiting: {reason}")

    def show_more(self, deployment: Deployment) -> None:
        if self._number != deployment.number:
            self._number, self._offset = deployment.number, 0
        for chunk in read_log(self._db.state_dir, deployment.number, self._offset):
            self._offset += len(chunk)
            self._show.raw(chunk)

    def show_rest(self, deployment: Deployment) -> None:
        """The end of a finished deployment's log; its last line follows the outcome."""
        self.show_more(deployment)
        time.sleep(_PAUSE)
        self.show_more(deployment)

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


def read_log(
    state_dir: str, number: int, start: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """The bytes of a log from ``start`` to ``end``; nothing where it was pruned."""
    try:
        file = open(log_path(state_dir, number), "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return
    with file:
        file.seek(start)
        left = _CHUNK if end is None else end - start
        while left > 0 and (chunk := file.read(min(left, _CHUNK))):
            yield chunk
            left -= 0 if end is None else len(chunk)
