"""What is on probation: what went live a while ago and is checked for a while longer."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from deployctl.store import queue
from deployctl.store.database import Database
from deployctl.system.clock import Instant
from deployctl.values.deployment import Failure

# Who asks where nobody did.
ACTOR = "deployctl"


@dataclass(frozen=True)
class Probation:
    """At most one a repo: that of ``deployment``, which made live what is live.

    ``failure`` is what the last check found, None where all was well. ``why`` says why nothing is
    done about it, ``rollback`` is the deployment that does something. ``told`` counts the notices
    that went out because of it.
    """

    repo: str
    deployment: int
    since: Instant
    failure: Failure | None = None
    why: str | None = None
    told: int = 0
    rollback: int | None = None


def every(db: Database) -> list[Probation]:
    rows = db.connection.execute("SELECT * FROM probations ORDER BY repo").fetchall()
    return [_probation(row) for row in rows]


def of_repo(db: Database, repo: str) -> Probation | None:
    row = db.connection.execute("SELECT * FROM probations WHERE repo = ?", (repo,)).fetchone()
    return _probation(row) if row else None


def begin(connection: sqlite3.Connection, repo: str, deployment: int, now: Instant) -> None:
    """In place of the one before, inside the caller's transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO probations (repo, deployment, since, boot, clock)"
        " VALUES (?, ?, ?, ?, ?)",
        (repo, deployment, now.wall, now.boot, now.clock),
    )


def end(connection: sqlite3.Connection, repo: str, deployment: int | None = None) -> None:
    """That of one deployment, or whichever there is, inside the caller's transaction."""
    connection.execute(
        "DELETE FROM probations WHERE repo = ? AND deployment = coalesce(?, deployment)",
        (repo, deployment),
    )


def save(connection: sqlite3.Connection, probation: Probation) -> None:
    """What became known of it, inside the caller's transaction."""
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
    """Queue a rollback by deployctl itself, with what made it do so -> its number."""
    number = queue.enqueue(
        connection,
        repo=probation.repo,
        trigger="auto",
        actor=ACTOR,
        now=now,
        order=queue.Order.rollback(),
    )
    connection.execute(
        "UPDATE deployments SET rollback_of = ?, reason = ?, failure = ? WHERE number = ?",
        (probation.deployment, reason, json.dumps(failure.to_json()), number),
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
