"""What became of a revision: whether it was live once, and whether it may come again by itself."""

from __future__ import annotations

from deployctl.store.database import Database
from deployctl.store.deployments import select
from deployctl.values.deployment import IDLE, IGNORED, REFUSED, Deployment

# How many runs of a stage, at most, the usual duration is taken from, and out of how many of the
# last deployments; with fewer runs than the third number nothing is usual yet.
_RUNS, _DEPLOYMENTS, _FEWEST = 20, 100, 5


def is_settled(db: Database, repo: str, revision: str) -> bool:
    """Whether a revision failed, was ignored, or a person stopped it, and the branch has not moved
    since.

    One that a signal ended, as a reboot does, is not settled: it may begin again by itself. What
    was rolled back is held, or may come again. That the branch has moved, and back, shows in an
    automatic deployment of another revision.
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
    """The newest deployment that built what is live or was: no rollback to it."""
    what = "repo = ? AND status = 'succeeded' AND phase NOT IN (?, ?) AND task = 'deploy'"
    found = select(
        db, f"{what} AND revision = ? AND release IS ?", (repo, *IDLE, revision, release), 1
    )
    return found[0] if found else None


def made_live_like(db: Database, repo: str, start: str) -> list[Deployment]:
    """The deployments that made a revision live whose sha begins like this, newest first."""
    what = "repo = ? AND status = 'succeeded' AND phase NOT IN (?, ?)"
    values = (repo, *IDLE, len(start), start)
    return select(db, f"{what} AND substr(revision, 1, ?) = ?", values, 100)


def usual_duration(db: Database, deployment: int, stage: str) -> float | None:
    """Return how long a stage usually takes, in seconds; None where too few runs are known.

    It is the median of the repo's last successful runs of that stage before this deployment.
    """
    rows = db.connection.execute(
        "SELECT duration FROM stages WHERE deployment IN (SELECT number FROM deployments"
        " WHERE repo = (SELECT repo FROM deployments WHERE number = :number) AND number < :number"
        " ORDER BY number DESC LIMIT :deployments)"
        " AND name = :stage AND status = 'succeeded' AND duration IS NOT NULL"
        " ORDER BY deployment DESC LIMIT :runs",
        {"number": deployment, "stage": stage, "deployments": _DEPLOYMENTS, "runs": _RUNS},
    ).fetchall()
    taken = sorted(float(row["duration"]) for row in rows)
    return taken[len(taken) // 2] if len(taken) >= _FEWEST else None
