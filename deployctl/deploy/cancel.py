"""Cancel a deployment, in the queue or while it runs.

A queued deployment is only marked as cancelled in the record. The process of a running one gets
SIGTERM: it ends its step, restores what was live before, and records the end. If that process is
dead, a worker is started, which does the same (recover.py). If it does not react, because it is
stopped or hangs, it is killed first.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable

from deployctl.deploy.fetch import named_revision
from deployctl.deploy.recover import cancelled_reason
from deployctl.errors import BusyError, RefusedError
from deployctl.output.status import get_deployment
from deployctl.store import deployments
from deployctl.store.database import Database
from deployctl.system.process_tree import Identity, send_signal
from deployctl.system.wake import start_worker
from deployctl.values.deployment import Deployment
from deployctl.values.repo import Config

# Seconds to wait for a running deployment to end: a step that ignores SIGTERM is killed after a few
# seconds, and then the previous release is restarted and checked.
_TIMEOUT = 60.0
# Seconds in which the process records that it has got the signal.
_REACTION_TIMEOUT = 10.0
_PAUSE = 0.1  # seconds


def cancel(db: Database, number: int, actor: str, config: Config) -> Deployment:
    """Cancel a deployment, and return it as it ended.

    ``actor`` is the person who cancels it. A running deployment first restores what was live
    before, which may take as long as its restart and health check. Its process is killed if it does
    not react within 10 seconds. Raises UsageError if there is no such deployment, RefusedError if
    it has ended already, and BusyError if it still runs after 60 seconds.
    """
    deployment = get_deployment(db, number)
    if deployment.finished:
        raise RefusedError(f"#{number} is over: {deployment.status}; nothing is left to cancel")
    reason = cancelled_reason(actor)
    if not deployments.cancel_queued(db, number, reason, time.time(), by=actor):
        _stop_running(db, number, actor, config)
    elif deployment.wanted_revision is None:
        # It was not fetched, so it has no revision yet. Record the one that its delivery named:
        # `deployctl sync` does not deploy a revision that a person has cancelled.
        named = named_revision(db, deployment, deployment.ref)
        deployments.update_columns(db, number, wanted_revision=named)
    return _wait_until_finished(db, number)


def _stop_running(db: Database, number: int, actor: str, config: Config) -> None:
    """Stop the process of a running deployment; if it is dead, start a worker."""
    deployments.record_cancelled_by(db, number, actor)
    runner = deployments.runner_of(db, number)
    process = Identity(**json.loads(runner)) if runner else None
    if process is None or not send_signal(process, signal.SIGTERM):
        start_worker(config.path, config.state_dir, config.env_names)
    elif not _reacts(db, number, cancelled_reason(actor)):
        send_signal(process, signal.SIGKILL)
        start_worker(config.path, config.state_dir, config.env_names)


def _reacts(db: Database, number: int, reason: str) -> bool:
    """Wait until the deployment has ended or its process has recorded that it stops.

    Return False if neither happens within 10 seconds.
    """

    def has_reacted(deployment: Deployment) -> bool:
        return deployment.status != "running" or deployment.reason == reason

    return _wait_until(has_reacted, db, number, _REACTION_TIMEOUT) is not None


def _wait_until_finished(db: Database, number: int) -> Deployment:
    """Return the deployment once it has ended; BusyError if it still runs after the timeout."""
    ended = _wait_until(lambda deployment: deployment.finished, db, number, _TIMEOUT)
    if ended is None:
        raise BusyError(
            f"#{number} was told to stop and is still putting things back; "
            f"see: deployctl show {number}"
        )
    return ended


def _wait_until(
    condition: Callable[[Deployment], bool], db: Database, number: int, seconds: float
) -> Deployment | None:
    """Return the deployment once the condition is true of it; None if it is not in that time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        deployment = get_deployment(db, number)
        if condition(deployment):
            return deployment
        time.sleep(_PAUSE)
    return None
