"""What a delivery says is at the ref now: it chooses nothing, but it should be there."""

from __future__ import annotations

from deployctl.releases.site import Site
from deployctl.store import delivery_records
from deployctl.store.database import Database
from deployctl.values.deployment import Deployment


def why_not_what_was_announced(
    site: Site, deployment: Deployment, ref: str, tip: str
) -> str | None:
    """A sentence where the revision that the delivery names is not reachable from the fetched tip.

    It may be forged, or the branch was forced to another commit since: what is deployed is the tip
    in any case.
    """
    named = announced(site.db, deployment, ref)
    if named is None or named == tip:
        return None
    if site.mirror.has(named) and site.mirror.is_ancestor(named, tip):
        return None
    return f"the delivery names {named}, which is not reachable from {ref}: its tip was taken"


def announced(db: Database, deployment: Deployment, ref: str | None) -> str | None:
    """The revision that the delivery of a deployment names for a ref; None where none does."""
    delivery = delivery_records.get(db, deployment.delivery) if deployment.delivery else None
    pushes = (delivery.facts or {}).get("pushes", []) if delivery else []
    return next((push["revision"] for push in reversed(pushes) if push["ref"] == ref), None)
