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
from deployctl.releases.prune import make_room
from deployctl.store import deliveries, deployments, freezes, probations, releases
from deployctl.store.freezes import Hold
from deployctl.system.clock import current_instant
from deployctl.values.deployment import IGNORED, Deployment
from deployctl.values.times import clock_time

_BROKEN = ("failed", "rolled_back", "degraded")


def conclude(attempt: Attempt, outcome: Outcome) -> Deployment:
    """Record the outcome -> the deployment as the record has it then.

    Where a full disk is in the way, releases that may go are removed, and it is tried once more.
    """
    if outcome.reason is not None:
        outcome = replace(outcome, reason=attempt.journal.masked(outcome.reason))
    site = attempt.site
    before = deployments.newest_tried(site.db, site.repo.name)
    recovered = before is not None and (before.status in _BROKEN or before.went_back_by_itself)
    record = partial(_record, attempt, outcome, recovered=recovered, now=time.time())
    try:
        return site.db.write(record, urgent=True)
    except StoreError:
        make_room(site)
        return site.db.write(record, urgent=True)


def log_end(attempt: Attempt, ended: Deployment) -> None:
    """Write the last lines of the log, from what is recorded by now."""
    attempt.journal.line(last_line(ended))
    repo = attempt.site.repo
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
    """Record which releases are good or bad now, and what is held or on probation."""
    repo, target, number = attempt.site.repo.name, attempt.target, attempt.deployment.number
    if target and outcome.status == "succeeded":
        releases.set_state(connection, repo, target.number, "good")
        freezes.lift_hold(connection, repo, target.revision)
        if _begins_probation(attempt):
            probations.begin(connection, repo, number, current_instant())
        else:
            probations.end(connection, repo)
    elif target:
        releases.set_state(connection, repo, target.number, "bad")
    if outcome.left is not None:
        releases.set_state(connection, repo, outcome.left, "left")
    if outcome.held:
        why = f"deployment #{number} rolled back from it"
        freezes.set_hold(connection, repo, Hold(outcome.held, now, why))


def _begins_probation(attempt: Attempt) -> bool:
    """Tell whether the release is to be checked for a while longer.

    After a crash it is not known what the release is checked with: that is looked up at each check.
    """
    checked = attempt.config is None or attempt.config.pipeline.healthcheck is not None
    return checked and attempt.site.repo.probation > 0
