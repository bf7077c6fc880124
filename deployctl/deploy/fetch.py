"""The first stage: bring the mirror up to date, and decide which revision goes live."""

from __future__ import annotations

from dataclasses import replace

from deployctl.deploy.attempt import Attempt
from deployctl.errors import RefusedError
from deployctl.git.mirror import Mirror
from deployctl.git.repository import is_sha
from deployctl.releases.site import Site, remote_tip
from deployctl.store import delivery_records, freezes
from deployctl.store.database import Database
from deployctl.values.deployment import Deployment


def fetch(attempt: Attempt) -> tuple[str, str]:
    """Bring the mirror up to date -> the revision that is to go live, and its subject."""
    site, deployment = attempt.site, attempt.deployment
    with attempt.journal.stage("fetch") as stage:
        ref = deployment.ref or site.repo.branch_ref or remote_tip(site).ref
        tip = site.mirror.fetch(ref)
        wanted, forced = deployment.wanted_revision, deployment.forced
        revision = choose_revision(site.mirror, ref, tip, wanted, forced=forced)
        commit = site.mirror.commit(revision)
        odd = _why_not_the_named_one(site, deployment, ref, tip)
        if odd is not None:
            stage.line(odd)
            attempt.journal.note(reason=odd)
        stage.line(f"{ref} is at {tip[:12]}; deploying {revision[:12]} {commit.subject}")
        subject = attempt.journal.masked(commit.subject)
        attempt.journal.note(ref=ref, revision=revision, subject=subject)
        attempt.deployment = replace(deployment, ref=ref, revision=revision)
        _mind_the_hold(attempt, revision, tip if ref == site.repo.branch_ref else None)
    return revision, commit.subject


def choose_revision(mirror: Mirror, ref: str, tip: str, wanted: str | None, *, forced: bool) -> str:
    """The tip, or the revision a person asked for where it is reachable from there."""
    if wanted is None:
        return tip
    if not mirror.has(wanted) and forced and is_sha(wanted):
        mirror.fetch_revision(wanted)
    if forced:
        return mirror.resolve(wanted)
    if not mirror.has(wanted) or not mirror.is_ancestor(mirror.resolve(wanted), tip):
        raise RefusedError(
            f"{wanted} is not reachable from {ref}: deploy a commit of that branch, or --force"
        )
    return mirror.resolve(wanted)


def _mind_the_hold(attempt: Attempt, revision: str, tip: str | None) -> None:
    """A held revision is refused unless a person insists; a branch that moved lifts the holds.

    ``tip`` is that of the repo's own branch, where it is known: one that is not held has moved.
    What a person insisted on is held until it has succeeded.
    """
    db, repo = attempt.site.db, attempt.site.repo.name
    if tip is not None and freezes.hold_on(db, repo, tip) is None:
        freezes.lift_holds(db, repo)
    hold = freezes.hold_on(db, repo, revision)
    if hold is not None and not attempt.deployment.forced:
        raise RefusedError(freezes.describe_hold(repo, hold))


def _why_not_the_named_one(site: Site, deployment: Deployment, ref: str, tip: str) -> str | None:
    """Return a warning where the revision that the delivery names is not reachable from the tip.

    It may be forged, or the branch was forced to another commit since. What is deployed is the tip
    in any case.
    """
    named = named_revision(site.db, deployment, ref)
    if named is None or named == tip:
        return None
    if site.mirror.has(named) and site.mirror.is_ancestor(named, tip):
        return None
    return f"the delivery names {named}, which is not reachable from {ref}: its tip was taken"


def named_revision(db: Database, deployment: Deployment, ref: str | None) -> str | None:
    """Return the revision that the delivery of a deployment names for a ref, or None."""
    delivery = delivery_records.get(db, deployment.delivery) if deployment.delivery else None
    pushes = (delivery.facts or {}).get("pushes", []) if delivery else []
    return next((push["revision"] for push in reversed(pushes) if push["ref"] == ref), None)
