"""What a delivery says is at the ref now: it chooses nothing, but it should be there."""

from __future__ import annotations

from deployctl.deployment import Deployment
from deployctl.site import Site
from deployctl.store import inbox


def why_not_what_was_announced(
    site: Site, deployment: Deployment, ref: str, tip: str
) -> str | None:
    """A sentence where the revision that the delivery names is not reachable from the fetched tip.

    It may be forged, or the branch was forced to another commit since: what is deployed is the tip
    in any case.
    """
    named = _announced(site, deployment, ref)
    if named is None or named == tip:
        return None
    if site.mirror.has(named) and site.mirror.is_ancestor(named, tip):
        return None
    return f"the delivery names {named}, which is not reachable from {ref}: its tip was taken"


def _announced(site: Site, deployment: Deployment, ref: str) -> str | None:
    delivery = inbox.get(site.db, deployment.delivery) if deployment.delivery else None
    pushes = (delivery.facts or {}).get("pushes", []) if delivery else []
    return next((push["revision"] for push in reversed(pushes) if push["ref"] == ref), None)
