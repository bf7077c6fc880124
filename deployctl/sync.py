"""What the branches say: for every webhook that never came."""

from __future__ import annotations

from deployctl.errors import DeployctlError
from deployctl.site import Site
from deployctl.store import deployments, freezes, queue


def queue_what_differs(site: Site, actor: str, now: float) -> str | None:
    """Queue a repo's branch tip where it should be live and is not -> what went wrong, if it did.

    Left alone: a tip that is live, held, on its way already, or whose deployment has failed; and
    a repo that follows tags, of which none is the tip.
    """
    if site.repo.tags is not None:
        return None
    ref = f"refs/heads/{site.repo.branch}"
    try:
        tip = site.mirror.remote_tip(ref)
        if tip is None:
            return f"{site.repo.url} has no branch {site.repo.branch}: push it, or set branch"
        if not _wanted(site, tip):
            return None
    except DeployctlError as error:
        return str(error)
    with site.db.writing() as connection:
        queue.enqueue(
            connection, repo=site.repo.name, trigger="cron", actor=actor, now=now, ref=ref
        )
    return None


def _wanted(site: Site, tip: str) -> bool:
    db, name = site.db, site.repo.name
    live = site.layout.live()
    if (live and live.revision == tip) or freezes.hold_on(db, name, tip):
        return False
    if deployments.running(db, name) or deployments.queued(db, name):
        return False
    return not deployments.is_settled(db, name, tip)
