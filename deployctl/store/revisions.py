"""Queries about the deployments of one revision."""

from __future__ import annotations

from deployctl.store.database import Database
from deployctl.store.deployments import select
from deployctl.values.deployment import IGNORED, PHASES_WITHOUT_EFFECT, REFUSED, Deployment


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


def find_that_built(
    db: Database, repo: str, revision: str, release: str | None
) -> Deployment | None:
    """Return the newest deployment that built this release and made it live, or None.

    As :func:`~deployctl.store.deployments.find_that_made_live`, but without the rollbacks to it.
    """
    built_live = "repo = ? AND status = 'succeeded' AND phase NOT IN (?, ?) AND task = 'deploy'"
    found = select(
        db,
        f"{built_live} AND revision = ? AND release IS ?",
        (repo, *PHASES_WITHOUT_EFFECT, revision, release),
        1,
    )
    return found[0] if found else None


def find_by_sha_prefix(db: Database, repo: str, start: str) -> list[Deployment]:
    """Return the deployments that made live a revision whose sha begins with ``start``.

    Newest first, at most 100.
    """
    made_live = "repo = ? AND status = 'succeeded' AND phase NOT IN (?, ?)"
    values = (repo, *PHASES_WITHOUT_EFFECT, len(start), start)
    return select(db, f"{made_live} AND substr(revision, 1, ?) = ?", values, 100)
