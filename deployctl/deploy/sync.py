"""What the remotes say: for every webhook that never came."""

from __future__ import annotations

from dataclasses import dataclass

from deployctl.errors import DeployctlError, UsageError
from deployctl.releases.site import Site, Tip, remote_tip
from deployctl.store import checks, deployments, freezes, queue, revisions


@dataclass(frozen=True)
class RemoteAnswer:
    """Whether a repo's remote answered, and what a person should know of it."""

    reached: bool
    complaint: str | None = None


def queue_changes(site: Site, actor: str, now: float) -> RemoteAnswer:
    """Queue the branch tip (or the newest tag) where it should be live and is not.

    Left alone: one that is live, held, on its way already, or whose deployment has failed.
    """
    try:
        tip = remote_tip(site)
    except DeployctlError as error:
        return RemoteAnswer(isinstance(error, UsageError), str(error))
    try:
        if not _is_held(site, tip) and _is_wanted(site, tip):
            _queue(site, tip, actor, now)
    except DeployctlError as error:
        return RemoteAnswer(True, str(error))
    return RemoteAnswer(True)


def _is_held(site: Site, tip: Tip) -> bool:
    """A branch whose tip is not held has moved on, which ends the holds on other revisions."""
    db, repo = site.db, site.repo
    held = freezes.hold_on(db, repo.name, tip.revision) is not None
    if not held and tip.ref == repo.branch_ref and freezes.hold_of(db, repo.name):
        freezes.lift_holds(db, repo.name)
    return held


def _is_wanted(site: Site, tip: Tip) -> bool:
    """What waits for its turn fetches the tip itself; what runs may have fetched an older one, and
    what waits for its checks waits for those of one commit.
    """
    db, name = site.db, site.repo.name
    if any(each.awaits in (None, tip.revision) for each in deployments.queued(db, name)):
        return False
    running = deployments.running(db, name)
    if running is None:
        live = site.layout.live()
        if live is not None and live.revision == tip.revision:
            return False
    elif running.task == "rollback" or running.revision in (None, tip.revision):
        return False
    return not revisions.is_settled(db, name, tip.revision)


def _queue(site: Site, tip: Tip, actor: str, now: float) -> None:
    """Where the forge's word on its checks is waited for, that may have been said already."""
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
