"""The stage "fetch": update the mirror, and decide which revision goes live.

Usually that is the tip of the ref as it is now, even if the delivery names another revision:
deliveries can be late, lost or forged. A deployment has a wanted revision if a person named one, or
if the deployment had to wait for the checks of one.
"""

from __future__ import annotations

from dataclasses import replace

from deployctl.deploy.attempt import Attempt
from deployctl.errors import RefusedError
from deployctl.git.mirror import Mirror
from deployctl.git.repository import is_sha
from deployctl.releases.site import Site, remote_tip
from deployctl.store import delivery_records, locks_and_holds
from deployctl.store.database import Database
from deployctl.values.deployment import Deployment


def fetch(attempt: Attempt) -> tuple[str, str]:
    """Fetch the ref; return the revision that will go live (a full sha) and its subject.

    The subject is the first line of the commit's message, unmasked. Ref, revision and masked
    subject are recorded. Raises StageFailed if git or the remote fails, and RefusedError if the
    revision is held or not reachable from the ref.
    """
    site, deployment = attempt.site, attempt.deployment
    with attempt.journal.stage("fetch") as stage:
        ref = deployment.ref or site.repo.branch_ref or remote_tip(site).ref
        tip = site.mirror.fetch(ref)
        wanted, forced = deployment.wanted_revision, deployment.forced
        revision = choose_revision(site.mirror, ref, tip, wanted, forced=forced)
        commit = site.mirror.commit(revision)
        warning = _unreachable_warning(site, deployment, ref, tip)
        if warning is not None:
            stage.line(warning)
            attempt.journal.note(reason=warning)
        stage.line(f"{ref} is at {tip[:12]}; deploying {revision[:12]} {commit.subject}")
        subject = attempt.journal.masked(commit.subject)
        attempt.journal.note(ref=ref, revision=revision, subject=subject)
        attempt.deployment = replace(deployment, ref=ref, revision=revision)
        _check_hold(attempt, revision, tip if ref == site.repo.branch_ref else None)
    return revision, commit.subject


def choose_revision(mirror: Mirror, ref: str, tip: str, wanted: str | None, *, forced: bool) -> str:
    """Return the full sha of the revision to deploy: ``wanted``, or ``tip`` if that is None.

    ``wanted`` may be the beginning of a sha. It must be reachable from the tip of ``ref``, else
    RefusedError is raised. If ``forced``, it may be any commit; one that the mirror does not have
    is fetched by its full sha, which a server may refuse (GitError).
    """
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


def _check_hold(attempt: Attempt, revision: str, tip: str | None) -> None:
    """Raise RefusedError if the revision is held and the deployment is not forced.

    ``tip`` is the tip of the branch that the repo follows, None if another ref is deployed. If that
    tip is not held, the branch has moved since the hold was set, and all holds of the repo are
    lifted. A hold on a forced revision stays until the deployment has succeeded.
    """
    db, repo = attempt.site.db, attempt.site.repo.name
    if tip is not None and locks_and_holds.hold_on(db, repo, tip) is None:
        locks_and_holds.lift_holds(db, repo)
    hold = locks_and_holds.hold_on(db, repo, revision)
    if hold is not None and not attempt.deployment.forced:
        raise RefusedError(locks_and_holds.describe_hold(repo, hold))


def _unreachable_warning(site: Site, deployment: Deployment, ref: str, tip: str) -> str | None:
    """Return a warning if the revision that the delivery names is not reachable from the tip.

    The delivery may be forged, or a force push may have moved the branch since. The delivery does
    not decide what is deployed, so this is no error.
    """
    named = named_revision(site.db, deployment, ref)
    if named is None or named == tip:
        return None
    if site.mirror.has(named) and site.mirror.is_ancestor(named, tip):
        return None
    return f"the delivery names {named}, which is not reachable from {ref}: its tip was taken"


def named_revision(db: Database, deployment: Deployment, ref: str | None) -> str | None:
    """Return the revision that the deployment's delivery names for a ref, or None.

    It is the one of the last push to that ref in the delivery, as the forge sent it. ``ref`` is a
    full name; a deployment that no delivery asked for has none.
    """
    delivery = delivery_records.get(db, deployment.delivery) if deployment.delivery else None
    pushes = (delivery.facts or {}).get("pushes", []) if delivery else []
    return next((push["revision"] for push in reversed(pushes) if push["ref"] == ref), None)
