"""Limit how many deployments run: one of each repo, and ``max_running`` on the machine."""

from __future__ import annotations

from dataclasses import dataclass

from deployctl.output.screen import Output
from deployctl.releases.site import Site
from deployctl.store.database import Database
from deployctl.system.locks import Slot, admission_gate, repo_lock
from deployctl.values.repo import Config


@dataclass(frozen=True)
class Runtime:
    """The configuration, the record and the output of this process, for all its deployments."""

    config: Config
    db: Database
    output: Output


class Admission:
    """The repo's lock file and one of the ``max_running`` slots: a process has both or neither.

    All of them are locked with flock(2), so the kernel frees them when the process dies.
    """

    def __init__(self, site: Site) -> None:
        state_dir = site.config.state_dir
        self._gate = admission_gate(state_dir)
        self._lock = repo_lock(state_dir, site.repo.name)
        self._slot = Slot(state_dir, site.config.max_running)

    def acquire(self) -> bool:
        """Take the lock file and a slot now, without waiting; return False if one is not free.

        Only one process at a time tries this (the gate below). Otherwise two processes could each
        hold, for an instant, what the other one needs: both would give up, both workers would end,
        and the queue would wait until cron starts the next worker.
        """
        with self._gate:
            if not self._lock.acquire():
                return False
            if not self._slot.acquire():
                self._lock.release()
                return False
            return True

    def release(self) -> None:
        """Give both back; harmless if they were not taken."""
        self._slot.release()
        self._lock.release()
