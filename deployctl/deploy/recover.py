"""What a dead process left: the first thing that whoever gets a repo's lock looks for.

The kernel freed the lock when its holder died, so what the record calls running is running no
more. It is undone by the phase that was written before each effect, and queued again.
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
from deployctl.system.locks import step_note
from deployctl.system.process_tree import Identity, end_marked
from deployctl.values.deployment import Deployment, Live

MAX_ATTEMPTS = 3


def recover(site: Site, output: Output) -> None:
    """Finish the story of an interrupted deployment; the caller holds the repo's lock.

    Also where that has ended, a command of its ``post`` may have outlived the process, or the
    check of what is on probation.
    """
    end_steps(step_note(site.db.state_dir, site.repo.name))
    deployment = deployments.running(site.db, site.repo.name)
    while deployment is not None:
        _recover(site, deployment, output)
        deployment = deployments.running(site.db, site.repo.name)


def _recover(site: Site, deployment: Deployment, output: Output) -> None:
    end_leftovers(site.db, deployment)
    attempt = _reopened(site, deployment, output)
    try:
        _put_back(attempt)
        refresh_page(site, attempt.journal)
    finally:
        attempt.close()


def _put_back(attempt: Attempt) -> None:
    site, deployment = attempt.site, attempt.deployment
    attempt.journal.line("the process that ran this deployment died; putting things back")
    outcome = undo(attempt, _how_it_ends(site, deployment))
    final = outcome.status in ("cancelled", "degraded")
    if final or not has_attempts_left(deployment):
        log_end(attempt, conclude(attempt, outcome))
    else:
        prune(site, attempt.journal)
        queue_again(site, deployment, "its process died")


def end_leftovers(db: Database, deployment: Deployment) -> None:
    """The step that its process was in, the git that it called; not what a restart started."""
    runner = deployments.runner_of(db, deployment.number)
    if runner is not None:
        end_helpers(Identity(**json.loads(runner)))
    end_steps(step_note(db.state_dir, deployment.repo))
    end_marked(f"{marker_of(db, deployment)}/{BUILD}")


def _how_it_ends(site: Site, deployment: Deployment) -> Outcome:
    """Its outcome where what was live before can be live again, and no attempt is left."""
    by = deployments.cancelled_by(site.db, deployment.number)
    if by:
        return Outcome("cancelled", reason=f"cancelled by {by}")
    times = f" {deployment.attempts} times" if deployment.attempts > 1 else ""
    return Outcome("failed", reason=f"its process died{times}")


def _reopened(site: Site, deployment: Deployment, output: Output) -> Attempt:
    """The attempt as the record knows it: what was live before, what was being built."""
    attempt = Attempt(site, deployment, output)
    attempt.previous = _previous(site, deployment)
    building = [
        release
        for release in releases.of_repo(site.db, site.repo.name)
        if release.state == "building"
    ]
    if building:
        attempt.target = Target(building[0].number, building[0].revision, building[0].name)
    return attempt


def _previous(site: Site, deployment: Deployment) -> Live | None:
    if deployment.previous_revision is None and deployment.previous_link is None:
        return None
    link = deployment.previous_link
    return Live(deployment.previous_revision, site.layout.release_of(link), link)


def has_attempts_left(deployment: Deployment) -> bool:
    """Tell whether it may run again: one that brings the machine down must not do so for ever."""
    return deployment.attempts < MAX_ATTEMPTS


def queue_again(site: Site, deployment: Deployment, why: str) -> str:
    """Put a deployment that was stopped back into the queue -> the reason that is recorded.

    The caller has made live again what was live before. Newer requests of the repo stay ahead.
    """
    attempt = f"attempt {deployment.attempts + 1} of {MAX_ATTEMPTS}"
    reason = f"{why}; it runs again ({attempt})"
    with site.db.writing() as connection:
        deployments.forget_stages(connection, deployment.number)
        queue.requeue(connection, site.repo.name, deployment.number, reason, time.time())
    return reason
