"""Dropping a queued deployment, stopping a running one."""

from __future__ import annotations

import json
import signal
import time

from deployctl.deploy.fetch import named_revision
from deployctl.errors import BusyError, RefusedError, UsageError
from deployctl.store import deployments
from deployctl.store.database import Database
from deployctl.system.process_tree import Identity, send_signal
from deployctl.system.wake import start_worker
from deployctl.values.deployment import Deployment
from deployctl.values.repo import Config

# A step that ignores SIGTERM is killed after seconds; then the old release is restarted.
_PATIENCE = 60.0
_PAUSE = 0.1


def cancel(db: Database, number: int, actor: str, config: Config) -> Deployment:
    """End a deployment that has not ended -> how it ended.

    A running one puts back what was live before it ends, which may take as long as restart and
    health check do; BusyError where it has not ended after a minute.
    """
    deployment = _get(db, number)
    if deployment.finished:
        raise RefusedError(f"#{number} is over: {deployment.status}; nothing is left to cancel")
    reason = f"cancelled by {actor}"
    if not deployments.cancel_queued(db, number, reason, time.time(), by=actor):
        _stop(db, number, actor, config)
    elif deployment.wanted_revision is None:
        # What was not fetched yet is known by what its delivery named: sync is not to bring it.
        named = named_revision(db, deployment, deployment.ref)
        deployments.note(db, number, wanted_revision=named)
    return _wait(db, number)


def _stop(db: Database, number: int, actor: str, config: Config) -> None:
    """Tell the process that runs it to stop; where that is dead, a worker cleans up behind it."""
    deployments.mark_to_cancel(db, number, actor)
    runner = deployments.runner_of(db, number)
    if not (runner and send_signal(Identity(**json.loads(runner)), signal.SIGTERM)):
        start_worker(config.path, config.state_dir, config.env_names)


def _wait(db: Database, number: int) -> Deployment:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        deployment = _get(db, number)
        if deployment.finished:
            return deployment
        time.sleep(_PAUSE)
    raise BusyError(
        f"#{number} was told to stop and is still putting things back; see: deployctl show {number}"
    )


def _get(db: Database, number: int) -> Deployment:
    deployment = deployments.get(db, number)
    if deployment is None:
        raise UsageError(f"no deployment #{number}; see: deployctl history")
    return deployment
