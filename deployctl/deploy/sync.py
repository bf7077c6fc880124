"""Compare a repo's remote with what is live, and queue what is missing (`deployctl sync`).

So a push is deployed even if its delivery was lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from deployctl.errors import DeployctlError, UsageError
from deployctl.releases.site import RemoteTip, Site, remote_tip
from deployctl.store import checks, deployments, locks_and_holds, queue, revisions


@dataclass(frozen=True)
class RemoteAnswer:
    """The result of asking a repo's remote.

    ``reached`` tells whether it answered. ``complaint`` is an error message for a person, or None;
    a remote that answered may have one as well, for example that it has no such branch.
    """

    reached: bool
    complaint: str | None = None


def queue_changes(site: Site, actor: str, now: float) -> RemoteAnswer:
    """Queue a deployment of the branch tip (or the newest tag) if it should be live and is not.

    Nothing is queued for a revision that is live, held, queued or running already, or whose
    deployment has failed, was skipped, or was cancelled by a person. ``now`` is in seconds since
    the epoch. An error is returned in the answer, not raised.
    """
    try:
        tip = remote_tip(site)
    except DeployctlError as error:
        return RemoteAnswer(isinstance(error, UsageError), str(error))
    try:
        if not _is_held(site, tip) and _needs_deployment(site, tip):
            _queue(site, tip, actor, now)
    except DeployctlError as error:
        return RemoteAnswer(True, str(error))
    return RemoteAnswer(True)


def _is_held(site: Site, tip: RemoteTip) -> bool:
    """Tell whether the tip is held.

    If the tip of the branch is not held, the branch has moved since a hold was set: all holds of
    the repo are lifted.
    """
    db, repo = site.db, site.repo
    held = locks_and_holds.hold_on(db, repo.name, tip.revision) is not None
    if not held and tip.ref == repo.branch_ref and locks_and_holds.hold_of(db, repo.name):
        locks_and_holds.lift_holds(db, repo.name)
    return held


def _needs_deployment(site: Site, tip: RemoteTip) -> bool:
    """Tell whether nothing that is live, queued or running covers the tip.

    A queued deployment that may run fetches the tip itself; one that waits for checks waits for
    those of one revision. A running deployment may have fetched an older tip.
    """
    db, name = site.db, site.repo.name
    queued = [each for each in deployments.queued(db, name) if each.for_newest_state]
    if any(deployment.awaits in (None, tip.revision) for deployment in queued):
        return False
    running = deployments.running(db, name)
    if running is None:
        live = site.layout.live()
        if live is not None and live.revision == tip.revision:
            return False
    elif running.task == "rollback" or running.revision in (None, tip.revision):
        return False
    return not revisions.is_settled(db, name, tip.revision)


def _queue(site: Site, tip: RemoteTip, actor: str, now: float) -> None:
    """Queue a deployment of the tip.

    With ``on: ci_success`` it depends on the checks of the forge, as far as they are recorded: if
    one has failed, nothing is queued; if all have passed, it may run; otherwise it waits for them.
    """
    name, checked = site.repo.name, site.repo.on == "ci_success"
    verdict = checks.verdict(site.db, name, tip.revision) if checked else None
    if verdict is not None and verdict.failed:
        return
    order = queue.Order(
        ref=tip.ref,
        revision=tip.revision if checked else None,
        awaits=tip.revision if verdict is not None and not verdict.passed else None,
    )
    with site.db.writing() as connection:
        queue.enqueue(connection, repo=name, trigger="cron", actor=actor, now=now, order=order)
