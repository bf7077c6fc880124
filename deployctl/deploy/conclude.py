"""Record how an attempt ended: outcome, hold, releases and notice, in one transaction."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from functools import partial

from deployctl.deploy.attempt import Attempt, Outcome, reread
from deployctl.deploy.journal import last_line
from deployctl.errors import StoreError
from deployctl.notices import outbox
from deployctl.releases.prune import remove_surplus_from_disk
from deployctl.store import deliveries, deployments, locks_and_holds, probations, releases
from deployctl.store.locks_and_holds import Hold
from deployctl.system.clock import current_instant
from deployctl.values.deployment import IGNORED, Deployment
from deployctl.values.times import clock_time

# After one of these, the next success is a recovery.
_FAILED_STATUSES = ("failed", "rolled_back", "degraded")


def conclude(attempt: Attempt, outcome: Outcome) -> Deployment:
    """Record the outcome, and return the deployment as it is in the record then.

    If it cannot be written, as on a full disk, releases that are no longer needed are removed and
    it is tried once more. Raises StoreError if that fails, too.
    """
    if outcome.reason is not None:
        outcome = replace(outcome, reason=attempt.journal.masked(outcome.reason))
    site = attempt.site
    before = deployments.newest_tried(site.db, site.repo.name)
    recovered = before is not None and (
        before.status in _FAILED_STATUSES or before.went_back_by_itself
    )
    record = partial(_record, attempt, outcome, recovered=recovered, now=time.time())
    try:
        return site.db.write(record, urgent=True)
    except StoreError:
        remove_surplus_from_disk(site)
        return site.db.write(record, urgent=True)


def log_end(attempt: Attempt, ended: Deployment) -> None:
    """Write the last lines of the log: the outcome, and until when the release is on probation.

    They are written after the outcome is recorded, as they are taken from the record.
    """
    repo = attempt.site.repo
    left = ended.previous_revision if ended.task == "rollback" else ended.revision
    is_held = left is not None and locks_and_holds.hold_on(attempt.site.db, repo.name, left)
    attempt.journal.line(last_line(ended, left if is_held else None))
    probation = probations.of_repo(attempt.site.db, repo.name)
    if probation is not None and probation.deployment == ended.number:
        until = clock_time(probation.since.wall + repo.probation, time.time())
        attempt.journal.line(
            f"{repo.name} #{ended.number}: on probation until {until}; "
            "deployctl run and sync, from cron or a timer, keep checking it"
        )


def _record(
    attempt: Attempt,
    outcome: Outcome,
    connection: sqlite3.Connection,
    *,
    recovered: bool,
    now: float,
) -> Deployment:
    """Record the outcome and what follows from it, inside the caller's transaction.

    ``recovered`` tells whether a success ends a series of failures; the notice says so.
    """
    db, repo, deployment = attempt.site.db, attempt.site.repo, attempt.deployment
    deployments.finish(
        connection,
        deployment.number,
        status=outcome.status,
        reason=outcome.reason,
        failure=outcome.failure,
        now=now,
        phase=outcome.phase,
    )
    _record_releases(attempt, outcome, connection, now)
    if outcome.phase == IGNORED and deployment.delivery is not None:
        deliveries.ignore(connection, deployment.delivery, outcome.reason or "")
    ended = reread(db, deployment.number)
    if not outcome.quiet and outcome.status != "cancelled":
        outbox.enqueue(connection, repo, ended, recovered=recovered, now=now)
    return ended


def _record_releases(
    attempt: Attempt, outcome: Outcome, connection: sqlite3.Connection, now: float
) -> None:
    """Record the new states of the releases, the hold, and the beginning or end of probation."""
    repo, target, number = attempt.site.repo.name, attempt.target, attempt.deployment.number
    if target and outcome.status == "succeeded":
        releases.set_state(connection, repo, target.number, "good")
        locks_and_holds.lift_hold(connection, repo, target.revision)
        if _begins_probation(attempt):
            probations.begin(connection, repo, number, current_instant())
        else:
            probations.end(connection, repo)
    elif target:
        releases.set_state(connection, repo, target.number, "bad")
    if outcome.left_release is not None:
        releases.set_state(connection, repo, outcome.left_release, "left")
    if outcome.revision_to_hold:
        why = f"deployment #{number} rolled back from it"
        locks_and_holds.set_hold(connection, repo, Hold(outcome.revision_to_hold, now, why))


def _begins_probation(attempt: Attempt) -> bool:
    """Tell whether probation begins for the release that is live now.

    It needs a health check. ``config`` is None if it is not known whether the release has one;
    then probation begins, and ends at its first check if there is none.
    """
    checked = attempt.config is None or attempt.config.pipeline.healthcheck is not None
    return checked and attempt.site.repo.probation > 0
