"""A deployment that was stopped on its way, and not by a person, goes back into the queue."""

from __future__ import annotations

import time

from deployctl.releases.site import Site
from deployctl.store import deployments, queue
from deployctl.values.deployment import Deployment

MAX_ATTEMPTS = 3


def has_attempts_left(deployment: Deployment) -> bool:
    """Else one that brings down the machine would do so for ever."""
    return deployment.attempts < MAX_ATTEMPTS


def queue_again(site: Site, deployment: Deployment, why: str) -> str:
    """Behind nothing newer, once what was live is live again -> the reason in the record."""
    attempt = f"attempt {deployment.attempts + 1} of {MAX_ATTEMPTS}"
    reason = f"{why}; it runs again ({attempt})"
    with site.db.writing() as connection:
        deployments.forget_stages(connection, deployment.number)
        queue.requeue(connection, site.repo.name, deployment.number, reason, time.time())
    return reason
