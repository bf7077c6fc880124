"""Recover from a process that died while it executed a deployment.

The kernel frees the repo's lock file when the process that holds it dies. So a process that has
just taken the lock file knows: a deployment that the record calls running does not run any more.
It calls :func:`recover` before it does anything else. That ends the processes that the dead one
left, undoes what the recorded ``phase`` says was begun, and queues the deployment again.
"""

from __future__ import annotations

import json
import time

from deployctl.deploy.attempt import Attempt, Outcome, Target, marker_of
from deployctl.deploy.conclude import conclude, log_end
from deployctl.deploy.restore import undo
from deployctl.deploy.stages import BUILD
from deployctl.output.page import refresh_page
from deployctl.output.screen import Output
from deployctl.releases.prune import prune
from deployctl.releases.site import Site
from deployctl.store import deployments, queue, releases
from deployctl.store.database import Database
from deployctl.system.leftovers import end_helpers, end_steps
from deployctl.system.locks import step_note_path
from deployctl.system.process_tree import Identity, end_marked
from deployctl.values.deployment import Deployment, Live

MAX_ATTEMPTS = 3  # of one deployment, the first one included


def recover(site: Site, output: Output) -> None:
    """Undo a deployment whose process died; the caller holds the repo's lock file.

    Noted steps that still run are ended first, even if the record has no running deployment: after
    the outcome was recorded a command of ``post``, or a health check in probation, may have
    outlived its process.
    """
    end_steps(step_note_path(site.db.state_dir, site.repo.name))
    deployment = deployments.running(site.db, site.repo.name)
    while deployment is not None:
        _recover_deployment(site, deployment, output)
        deployment = deployments.running(site.db, site.repo.name)


def _recover_deployment(site: Site, deployment: Deployment, output: Output) -> None:
    end_leftovers(site.db, deployment)
    attempt = _reopen(site, deployment, output)
    try:
        _undo_and_record(attempt)
        refresh_page(site, attempt.journal)
    finally:
        attempt.close()


def _undo_and_record(attempt: Attempt) -> None:
    """Restore what was live before; then queue the deployment again, or record its end.

    It ends if it was cancelled, if it cannot be undone, or after its last attempt.
    """
    site, deployment = attempt.site, attempt.deployment
    attempt.journal.line("the process that ran this deployment died; putting things back")
    outcome = undo(attempt, _outcome_of_dead(site, deployment))
    final = outcome.status in ("cancelled", "degraded")
    if final or not has_attempts_left(deployment):
        log_end(attempt, conclude(attempt, outcome))
    else:
        prune(site, attempt.journal)
        queue_again(site, deployment, "its process died")


def end_leftovers(db: Database, deployment: Deployment) -> None:
    """End the processes that the dead process of a deployment left.

    These are its steps and helpers such as git. A daemon that a finished restart started is not
    ended: the restart left it on purpose.
    """
    runner = deployments.runner_of(db, deployment.number)
    if runner is not None:
        end_helpers(Identity(**json.loads(runner)))
    end_steps(step_note_path(db.state_dir, deployment.repo))
    end_marked(f"{marker_of(db, deployment)}/{BUILD}")


def _outcome_of_dead(site: Site, deployment: Deployment) -> Outcome:
    """Return the outcome of a deployment whose process died, if undoing succeeds.

    It is recorded unless the deployment gets another attempt.
    """
    actor = deployments.cancelled_by(site.db, deployment.number)
    if actor:
        return Outcome("cancelled", reason=cancelled_reason(actor))
    times = f" {deployment.attempts} times" if deployment.attempts > 1 else ""
    return Outcome("failed", reason=f"its process died{times}")


def cancelled_reason(actor: str) -> str:
    """Return the reason of a deployment that a person cancelled, as it is recorded."""
    return f"cancelled by {actor}"


def _reopen(site: Site, deployment: Deployment, output: Output) -> Attempt:
    """Return the attempt with what the record knows: what was live before, what it was building."""
    attempt = Attempt(site, deployment, output)
    attempt.previous = _previous_live(site, deployment)
    building = [
        release
        for release in releases.of_repo(site.db, site.repo.name)
        if release.state == "building"
    ]
    if building:
        attempt.target = Target(building[0].number, building[0].revision, building[0].name)
    return attempt


def _previous_live(site: Site, deployment: Deployment) -> Live | None:
    """Return what was live when the deployment began, from the record; None: nothing was."""
    if deployment.previous_revision is None and deployment.previous_link is None:
        return None
    link = deployment.previous_link
    return Live(deployment.previous_revision, site.layout.release_of(link), link)


def has_attempts_left(deployment: Deployment) -> bool:
    """Tell whether the deployment may run again after its process died or was interrupted.

    The number of attempts is limited, because a deployment may itself crash the machine.
    """
    return deployment.attempts < MAX_ATTEMPTS


def queue_again(site: Site, deployment: Deployment, why: str) -> str:
    """Put an interrupted deployment back into the queue, and return the recorded reason.

    The caller has already undone the interrupted attempt. If a newer deployment of the repo is
    queued, that one supersedes this one. ``why`` is the beginning of the reason.
    """
    attempt = f"attempt {deployment.attempts + 1} of {MAX_ATTEMPTS}"
    reason = f"{why}; it runs again ({attempt})"
    with site.db.writing() as connection:
        deployments.forget_stages(connection, deployment.number)
        queue.requeue(connection, site.repo.name, deployment.number, reason, time.time())
    return reason
