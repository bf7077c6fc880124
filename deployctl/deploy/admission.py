"""Whose turn it is: one deployment of a repo at a time, so many on the machine."""

from __future__ import annotations

from dataclasses import dataclass

from deployctl.output.screen import Output
from deployctl.releases.site import Site
from deployctl.store.database import Database
from deployctl.system.locks import Slot, admission_gate, repo_lock
from deployctl.values.repo import Config


@dataclass(frozen=True)
class Runtime:
    """What every deployment that this process runs needs: configuration, record and output."""

    config: Config
    db: Database
    output: Output


class Admission:
    """The repo's lock and a place on the machine, both or neither.

    Whoever has the lock but no place gives the lock back, so that nobody waits while holding.
    """

    def __init__(self, site: Site) -> None:
        state_dir = site.config.state_dir
        self._gate = admission_gate(state_dir)
        self._lock = repo_lock(state_dir, site.repo.name)
        self._slot = Slot(state_dir, site.config.max_running)

    def acquire(self) -> bool:
        """Take both now or none.

        One process at a time looks: else two could each find what the other is about to give
        back, both end, and what is queued would wait for cron.
        """
        with self._gate:
            if not self._lock.acquire():
                return False
            if not self._slot.acquire():
                self._lock.release()
                return False
            return True

    def release(self) -> None:
        self._slot.release()
        self._lock.release()
