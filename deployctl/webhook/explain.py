"""Explain a recorded delivery in a sentence: the decision, and the outcome of its deployment."""

from __future__ import annotations

from deployctl.errors import UsageError
from deployctl.store import delivery_records, deployments
from deployctl.store.database import Database
from deployctl.store.delivery_records import DeliveryRecord
from deployctl.values.deployment import Deployment

_STATUS = {"refused": 401, "error": 503}


def find_delivery(db: Database, number: int) -> DeliveryRecord:
    """Return the delivery with this number; raise UsageError where there is none."""
    found = delivery_records.get(db, number)
    if found is None:
        raise UsageError(f"no delivery {number}; see: deployctl delivery list")
    return found


def explain_delivery(db: Database, record: DeliveryRecord) -> str:
    """Return one sentence: the result, its reason, and the outcome of the deployment, if any."""
    answered = f" (answered {_STATUS[record.result]})" if record.result in _STATUS else ""
    sentence = f"{record.result}{answered}: {record.reason}"
    has_outcome = record.deployment is not None and record.result != "ignored"
    found = deployments.get(db, record.deployment or 0) if has_outcome else None
    return f"{sentence}; {_outcome(found)}" if found else sentence


def suggested_action(record: DeliveryRecord) -> str | None:
    """Return what a person can do about the delivery; None where nothing went wrong."""
    if record.result == "refused" and record.facts is not None:
        return f"mend that, then: deployctl delivery replay {record.id}"
    if record.result in {"refused", "malformed"}:
        return f"look at it: deployctl delivery show {record.id}"
    if record.result == "error":
        return "mend that, then redeliver it at the forge, or: deployctl sync"
    return None


def _outcome(deployment: Deployment) -> str:
    name = f"deployment #{deployment.number}"
    if deployment.status == "queued":
        return f"{name} waits: {deployment.reason or 'a worker will run it'}"
    if deployment.status == "running":
        return f"{name} is running"
    if deployment.failure is not None:
        failure = deployment.failure
        return f"{name} {deployment.status} in {failure.stage}: {failure.message}"
    because = f" ({deployment.reason})" if deployment.reason else ""
    return f"{name} {deployment.status}{because}"
