"""The sender: one process that sends due notices beside the queue.

The worker starts it as soon as something is due, and goes on with the next deployment: a channel
that hangs delays no deployment. The sender ends when nothing is due. It stays alone on this machine
by a lock, however many workers there are. What it could not send, and what became due just after
its end, is sent by the worker that started it, at its own end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

from deployctl.config.load import load
from deployctl.notices import outbox
from deployctl.notices.messenger import module_path
from deployctl.store import notices as store
from deployctl.store.database import Database
from deployctl.system.locks import sender_lock
from deployctl.values.repo import Config


class Sender:
    """The process that sends, seen from the worker that starts it."""

    def __init__(self, config: Config, db: Database) -> None:
        self._config = config
        self._db = db
        self._process: subprocess.Popen[bytes] | None = None

    def start_if_due(self) -> None:
        """Start the process if a sending is due, unless this one has started one that runs."""
        if self._process is not None and self._process.poll() is None:
            return
        if store.is_due(self._db, time.time()):
            with contextlib.suppress(OSError):  # finish() sends what is due
                self._process = _start(self._config.path)

    def finish(self) -> None:
        """Wait until the process has ended, then send what is still due."""
        if self._process is not None:
            self._process.wait()
        if store.is_due(self._db, time.time()):
            with sender_lock(self._config.state_dir):
                outbox.send_due(self._db, self._config.channels)


def _start(config_path: str) -> subprocess.Popen[bytes]:
    """Start the process, in a session of its own: Ctrl-C ends the worker, not a sending."""
    return subprocess.Popen(
        [sys.executable, "-m", "deployctl.notices.sender", os.path.abspath(config_path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, "PYTHONPATH": module_path()},
        start_new_session=True,
    )


def main() -> None:
    """Send what is due; this is the program of the process. Its argument is the path of repos.yml.

    Do nothing if another sender of the same state directory is at work.
    """
    config = load(sys.argv[1])
    lock = sender_lock(config.state_dir)
    if lock.acquire():
        with Database(config.state_dir) as db:
            outbox.send_due(db, config.channels)


if __name__ == "__main__":
    main()
