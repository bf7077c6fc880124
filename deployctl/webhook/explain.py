"""Explain the decision that was taken on a delivery, for people."""

from __future__ import annotations

from deployctl.errors import UsageError
from deployctl.store import delivery_records, deployments
from deployctl.store.database import Database
from deployctl.store.delivery_records import DeliveryRecord
from deployctl.values.deployment import Deployment

_STATUS = {"refused": 401, "error": 503}


def find_delivery(db: Database, number: int) -> DeliveryRecord:
    """One delivery whole; UsageError where there is none of that number."""
    found = delivery_records.get(db, number)
    if found is None:
        raise UsageError(f"no delivery {number}; see: deployctl delivery list")
    return found


def explain(db: Database, record: DeliveryRecord) -> str:
    """One sentence that a person understands."""
    answered = f" (answered {_STATUS[record.result]})" if record.result in _STATUS else ""
    sentence = f"{record.result}{answered}: {record.reason}"
    tells = record.deployment is not None and record.result != "ignored"
    found = deployments.get(db, record.deployment or 0) if tells else None
    return f"{sentence}; {_fate(found)}" if found else sentence


def next_step(record: DeliveryRecord) -> str | None:
    """What a person can do about it; None where there is nothing to mend."""
    if record.result == "refused" and record.facts is not None:
        return f"mend that, then: deployctl delivery replay {record.id}"
    if record.result in {"refused", "malformed"}:
        return f"look at it: deployctl delivery show {record.id}"
    if record.result == "error":
        return "mend that, then redeliver it at the forge, or: deployctl sync"
    return None


def _fate(deployment: Deployment) -> str:
    name = f"deployment #{deployment.number}"
    if deployment.status == "queued":
        return f"{name} waits: {deployment.reason or 'its turn will come'}"
    if deployment.status == "running":
        return f"{name} is running"
    if deployment.failure is not None:
        failure = deployment.failure
        return f"{name} {deployment.status} in {failure.stage}: {failure.message}"
    because = f" ({deployment.reason})" if deployment.reason else ""
    return f"{name} {deployment.status}{because}"
