"""The first and the last line of a deployment's log."""

from __future__ import annotations

import os

from deployctl.values.deployment import Deployment


def first_line(deployment: Deployment) -> str:
    """What was asked for, and by whom."""
    what = deployment.rollback_to or deployment.wanted_revision or deployment.ref
    task = f"{deployment.task} {what}" if what else deployment.task
    by = f"({deployment.trigger}, asked by {deployment.actor})"
    return f"{deployment.repo} #{deployment.number}: {task} {by} on {os.uname().nodename}"


def last_line(deployment: Deployment) -> str:
    """How it ended, and what that means for what is live."""
    revision = (deployment.revision or "")[:12]
    before = (deployment.previous_revision or "")[:12]
    had_live = deployment.previous_revision or deployment.previous_link
    says = {
        "succeeded": f"{revision} is live",
        "rolled_back": f"{revision} failed; {before} is live again",
        "degraded": "DEGRADED: it failed and going back failed too; look at it now",
        "failed": "failed; " + ("what was live stays live" if had_live else "nothing is live"),
        "cancelled": "cancelled",
    }
    reason = f" ({deployment.reason})" if deployment.reason else ""
    return f"{deployment.repo} #{deployment.number}: {says[deployment.status]}{reason}"
