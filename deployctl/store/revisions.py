"""Queries about the deployments of one revision, and about the usual duration of a stage."""

from __future__ import annotations

from deployctl.store.database import Database
from deployctl.store.deployments import select
from deployctl.values.deployment import IDLE, IGNORED, REFUSED, Deployment

# The usual duration is taken from at most _MAX_RUNS runs of a stage, among the last
# _MAX_DEPLOYMENTS deployments. With fewer runs than _MIN_RUNS no duration is usual yet.
_MAX_RUNS, _MAX_DEPLOYMENTS, _MIN_RUNS = 20, 100, 5


def is_settled(db: Database, repo: str, revision: str) -> bool:
    """Tell whether the result of a revision's last deployment forbids to queue it automatically.

    It does if the deployment failed, was ignored, or was cancelled by a person, and the branch has
    not moved since. That the branch has moved, and back, is recognised by a later automatic
    deployment of another revision. After a deployment that a signal ended, as at a reboot, the
    revision may be queued again; also after one that was rolled back, unless the revision is held.
    """
    row = db.connection.execute(
        "SELECT number, status, phase, cancelled_by FROM deployments"
        " WHERE repo = ? AND coalesce(revision, wanted_revision) = ? AND task = 'deploy'"
        " AND status NOT IN ('queued', 'running', 'superseded') AND phase != ?"
        " ORDER BY number DESC LIMIT 1",
        (repo, revision, REFUSED),
    ).fetchone()
    if row is None:
        return False
    stopped = row["status"] == "cancelled" and row["cancelled_by"] is not None
    if not (row["status"] == "failed" or row["phase"] == IGNORED or stopped):
        return False
    moved = db.connection.execute(
        "SELECT 1 FROM deployments WHERE repo = ? AND number > ?"
        " AND coalesce(revision, wanted_revision) != ?"
        " AND task = 'deploy' AND trigger IN ('webhook', 'cron') AND NOT by_hand LIMIT 1",
        (repo, row["number"], revision),
    ).fetchone()
    return moved is None


def built(db: Database, repo: str, revision: str, release: str | None) -> Deployment | None:
    """Return the newest deployment that built this release and made it live, or None.

    As :func:`~deployctl.store.deployments.made_live`, but without the rollbacks to it.
    """
    built_live = "repo = ? AND status = 'succeeded' AND phase NOT IN (?, ?) AND task = 'deploy'"
    found = select(
        db, f"{built_live} AND revision = ? AND release IS ?", (repo, *IDLE, revision, release), 1
    )
    return found[0] if found else None


def made_live_like(db: Database, repo: str, start: str) -> list[Deployment]:
    """Return the deployments that made live a revision whose sha begins with ``start``.

    Newest first, at most 100.
    """
    made_live = "repo = ? AND status = 'succeeded' AND phase NOT IN (?, ?)"
    values = (repo, *IDLE, len(start), start)
    return select(db, f"{made_live} AND substr(revision, 1, ?) = ?", values, 100)


def usual_duration(db: Database, deployment: int, stage: str) -> float | None:
    """Return how long a stage usually takes, in seconds; None if too few runs are known.

    It is the median of the repo's last successful runs of that stage before this deployment.
    """
    rows = db.connection.execute(
        "SELECT duration FROM stages WHERE deployment IN (SELECT number FROM deployments"
        " WHERE repo = (SELECT repo FROM deployments WHERE number = :number) AND number < :number"
        " ORDER BY number DESC LIMIT :deployments)"
        " AND name = :stage AND status = 'succeeded' AND duration IS NOT NULL"
        " ORDER BY deployment DESC LIMIT :runs",
        {
            "number": deployment,
            "stage": stage,
            "deployments": _MAX_DEPLOYMENTS,
            "runs": _MAX_RUNS,
        },
    ).fetchall()
    durations = sorted(float(row["duration"]) for row in rows)
    return durations[len(durations) // 2] if len(durations) >= _MIN_RUNS else None
