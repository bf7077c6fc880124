"""Limit what runs: one deployment of each repo, and ``max_running`` builds on the machine."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from deployctl.config.load import load
from deployctl.errors import ConfigError, RefusedError, UsageError
from deployctl.output.screen import Output
from deployctl.releases.choose import rollback_target
from deployctl.releases.site import Site
from deployctl.store import deployments
from deployctl.store.database import Database
from deployctl.store.releases import GONE
from deployctl.system.locks import Slot, admission_gate, repo_lock
from deployctl.system.process_tree import Identity, identity, is_alive
from deployctl.values.repo import Config


@dataclass(frozen=True)
class Runtime:
    """The configuration, the record and the output of this process, for all its deployments."""

    config: Config
    db: Database
    output: Output

    def reread(self) -> Runtime:
        """Return the runtime with repos.yml as it is now; ConfigError if it is wrong.

        Each deployment calls it when its turn comes: minutes may have passed since this process
        has read the file.
        """
        config = load(self.config.path)
        if config.state_dir != self.config.state_dir:
            raise ConfigError(
                f"{config.path}: state_dir was changed to {config.state_dir} meanwhile: "
                "nothing more is begun here; run the command again"
            )
        return replace(self, config=config)


class Admission:
    """The repo's lock file and, for a build, one of the ``max_running`` slots.

    All of them are locked with flock(2), so the kernel frees them when the process dies.
    """

    def __init__(self, site: Site) -> None:
        state_dir = site.config.state_dir
        self._site = site
        self._gate = admission_gate(state_dir)
        self._lock = repo_lock(state_dir, site.repo.name)
        self._slot = Slot(state_dir, site.config.max_running)

    def acquire(self, *, slot: bool = True) -> bool:
        """Take the lock file, and a slot unless ``slot`` is False; return False if one is taken.

        It does not wait. Only one process at a time tries this (the gate below). Otherwise two
        processes could each hold, for an instant, what the other one needs: both would give up,
        both workers would end, and the queue would wait until cron starts the next worker.
        """
        with self._gate:
            if not self._lock.acquire():
                return False
            if _runs_elsewhere(self._site):
                self._lock.release()
                return False
            if slot and not self._slot.acquire():
                self._lock.release()
                return False
            return True

    def release(self) -> None:
        """Give both back; harmless if they were not taken."""
        self._slot.release()
        self._lock.release()


def needs_slot(site: Site, number: int) -> bool:
    """Tell whether a queued deployment builds something; a rollback to a release on disk does not.

    A rollback that will be refused needs none either.
    """
    deployment = deployments.get(site.db, number)
    if deployment is None or deployment.task != "rollback":
        return True
    try:
        return rollback_target(site, deployment.rollback_to).state == GONE
    except (RefusedError, UsageError):
        return False


def _runs_elsewhere(site: Site) -> bool:
    """Tell whether a living process, and not this one, runs a deployment of the repo.

    Its lock file was deleted where this is so although the lock could be taken.
    """
    deployment = deployments.running(site.db, site.repo.name)
    runner = deployments.runner_of(site.db, deployment.number) if deployment else None
    if runner is None:
        return False
    process = Identity(**json.loads(runner))
    return process != identity() and is_alive(process)
