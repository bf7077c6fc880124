"""A release is live and well: the outcome, and what becomes of the one that was live before."""

from __future__ import annotations

from deployctl.attempt import Attempt, Outcome, Target
from deployctl.releases.choose import find_release


def succeeded(attempt: Attempt, target: Target) -> Outcome:
    """A rollback holds the revision that it left."""
    attempt.target = target
    if attempt.deployment.task == "deploy" or attempt.previous is None:
        return Outcome("succeeded")
    left, release = attempt.previous.revision, attempt.previous.release
    record = find_release(attempt.site, left, release)
    newer = record.number if record and record.number > target.number else None
    # Another release of the same revision is live: to hold that would be to hold what is live.
    held = left if left != target.revision else None
    return Outcome("succeeded", held=held, left=newer)
