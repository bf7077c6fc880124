"""Probations: live releases whose health is still checked for a while after their deployment."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from deployctl.store import queue
from deployctl.store.database import Database
from deployctl.system.clock import Instant
from deployctl.values.deployment import Failure

# The actor of a rollback that deployctl itself queues.
ACTOR = "deployctl"


@dataclass(frozen=True)
class Probation:
    """The probation of a repo, of which it has at most one.

    ``deployment`` is the number of the deployment that made live what is checked. ``failure`` is
    the result of the last check, None if it was good. After a failure either ``rollback`` is the
    number of the rollback that was queued, or ``why`` says why none was. ``told`` is the number of
    notices about it: 0, 1 (it failed) or 2 (it is well again).
    """

    repo: str
    deployment: int
    since: Instant
    failure: Failure | None = None
    why: str | None = None
    told: int = 0
    rollback: int | None = None


def every(db: Database) -> list[Probation]:
    """Return the probations of all repos."""
    rows = db.connection.execute("SELECT * FROM probations ORDER BY repo").fetchall()
    return [_probation(row) for row in rows]


def of_repo(db: Database, repo: str) -> Probation | None:
    """Return the probation of a repo, or None."""
    row = db.connection.execute("SELECT * FROM probations WHERE repo = ?", (repo,)).fetchone()
    return _probation(row) if row else None


def begin(connection: sqlite3.Connection, repo: str, deployment: int, now: Instant) -> None:
    """Begin the probation of a deployment, in the caller's transaction.

    It replaces an earlier probation of the repo.
    """
    connection.execute(
        "INSERT OR REPLACE INTO probations (repo, deployment, since, boot, clock)"
        " VALUES (?, ?, ?, ?, ?)",
        (repo, deployment, now.wall, now.boot, now.clock),
    )


def end(connection: sqlite3.Connection, repo: str, deployment: int | None = None) -> None:
    """Remove the probation of a repo, in the caller's transaction.

    With ``deployment``, remove it only if it is the probation of that deployment.
    """
    connection.execute(
        "DELETE FROM probations WHERE repo = ? AND deployment = coalesce(?, deployment)",
        (repo, deployment),
    )


def save(connection: sqlite3.Connection, probation: Probation) -> None:
    """Store the changed fields of a probation, in the caller's transaction.

    Nothing happens if it has ended, or another deployment's probation has begun.
    """
    failure, since = probation.failure, probation.since
    connection.execute(
        "UPDATE probations SET since = ?, boot = ?, clock = ?, failure = ?, why = ?, told = ?,"
        " rollback = ? WHERE repo = ? AND deployment = ?",
        (
            *(since.wall, since.boot, since.clock),
            json.dumps(failure.to_json()) if failure else None,
            *(probation.why, probation.told, probation.rollback),
            *(probation.repo, probation.deployment),
        ),
    )


def queue_rollback(
    connection: sqlite3.Connection, probation: Probation, failure: Failure, reason: str, now: float
) -> int:
    """Queue an automatic rollback to the last good release; return its number.

    If a person's rollback already waits that undoes the same, it is that one's number. This happens
    in the caller's transaction. ``failure`` is that of the check, and is stored with
    the rollback; ``now`` is in seconds since the epoch.
    """
    number = queue.enqueue(
        connection,
        repo=probation.repo,
        trigger="auto",
        actor=ACTOR,
        now=now,
        order=queue.Order.rollback(undoes=probation.deployment),
    )
    connection.execute(
        "UPDATE deployments SET reason = ?, failure = ? WHERE number = ? AND trigger = 'auto'",
        (reason, json.dumps(failure.to_json()), number),
    )
    return number


def _probation(row: sqlite3.Row) -> Probation:
    return Probation(
        repo=row["repo"],
        deployment=row["deployment"],
        since=Instant(row["since"], row["boot"], row["clock"]),
        failure=Failure(**json.loads(row["failure"])) if row["failure"] else None,
        why=row["why"],
        told=row["told"],
        rollback=row["rollback"],
    )
