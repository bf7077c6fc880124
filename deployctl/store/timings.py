"""How long a stage usually takes."""

from __future__ import annotations

from deployctl.store.database import Database

_RUNS = 20  # whose median is taken, of the deployments looked at
_DEPLOYMENTS = 100
_FEWEST = 5  # below which nothing is usual yet


def usual(db: Database, deployment: int, stage: str) -> float | None:
    """The median, in seconds, of the repo's last runs of that stage before this deployment."""
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
