"""The history: every deployment with its stages and steps, and how it ended."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from deployctl.store.database import Database
from deployctl.values.deployment import (
    IDLE,
    REFUSED,
    Deployment,
    Failure,
    StageRecord,
    StepRecord,
)


def get(db: Database, number: int) -> Deployment | None:
    """One deployment whole, with its stages."""
    found = select(db, "number = ?", (number,), 1)
    return found[0] if found else None


def history(db: Database, repo: str | None, limit: int) -> list[Deployment]:
    """The newest deployments first, of one repo or of all, with their stages."""
    return select(db, "repo = ?", (repo,), limit) if repo else select(db, "1", (), limit)


def running(db: Database, repo: str) -> Deployment | None:
    found = select(db, "repo = ? AND status = 'running'", (repo,), 1)
    return found[0] if found else None


def all_running(db: Database) -> list[Deployment]:
    return select(db, "status = 'running'", (), 100)


def queued(db: Database, repo: str) -> list[Deployment]:
    return select(db, "repo = ? AND status = 'queued'", (repo,), 100)


def newest_finished(db: Database, repo: str) -> Deployment | None:
    """The newest deployment that came to an end of its own: not by a newer one's arrival, nor by
    a refusal, which says nothing of the repo.
    """
    ended = "repo = ? AND status NOT IN ('queued', 'running', 'superseded') AND phase != ?"
    found = select(db, ended, (repo, REFUSED), 1)
    return found[0] if found else None


def newest_tried(db: Database, repo: str) -> Deployment | None:
    """The newest deployment that tells whether the repo works: it went live, or failed to."""
    tried = "repo = ? AND status IN ('succeeded', 'failed', 'rolled_back', 'degraded')"
    found = select(db, f"{tried} AND phase NOT IN (?, ?)", (repo, *IDLE), 1)
    return found[0] if found else None


def made_live(
    db: Database, repo: str, revision: str | None, release: str | None
) -> Deployment | None:
    """The newest deployment that brought this revision (and release, where it has one) live."""
    found = select(
        db,
        "repo = ? AND status = 'succeeded' AND phase NOT IN (?, ?) AND revision = ?"
        " AND release IS ?",
        (repo, *IDLE, revision, release),
        1,
    )
    return found[0] if found else None


def claim(db: Database, number: int, runner: str, now: float) -> bool:
    """Queued -> running, once: False where another was faster, or a person locked the repo."""
    with db.writing() as connection:
        cursor = connection.execute(
            "UPDATE deployments SET status = 'running', phase = 'claimed', started_at = ?,"
            " runner = ?, attempts = attempts + 1,"
            " failure = CASE WHEN trigger = 'auto' THEN failure END"
            " WHERE number = ? AND status = 'queued' AND awaits IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM locks WHERE locks.repo = deployments.repo)",
            (now, runner, number),
        )
        return cursor.rowcount == 1


def note(db: Database, number: int, **columns: str | int | None) -> None:
    """Write down what became known of a running deployment: ref, revision, phase and the like."""
    assignments = ", ".join(f"{name} = ?" for name in columns)
    with db.writing() as connection:
        connection.execute(
            f"UPDATE deployments SET {assignments} WHERE number = ?",  # noqa: S608 - names in our own code
            (*columns.values(), number),
        )


def finish(
    connection: sqlite3.Connection,
    number: int,
    *,
    status: str,
    reason: str | None,
    failure: Failure | None,
    now: float,
    phase: str = "",
) -> None:
    """The outcome, inside the caller's transaction, together with all that follows from it.

    What went wrong is always told as a failure, too: where it was in no stage, in the worker. One
    that deployctl itself asked for keeps what made it ask.
    """
    if failure is None and status in ("failed", "degraded"):
        failure = Failure(stage="worker", message=reason or status)
    connection.execute(
        "UPDATE deployments SET status = ?, phase = ?, finished_at = ?, runner = NULL,"
        " reason = coalesce(?, reason), failure = coalesce(?, failure) WHERE number = ?",
        (
            status,
            phase,
            now,
            reason,
            json.dumps(failure.to_json()) if failure else None,
            number,
        ),
    )


def runner_of(db: Database, number: int) -> str | None:
    """The process that carries a running deployment out, as it was written by :func:`claim`."""
    row = db.connection.execute(
        "SELECT runner FROM deployments WHERE number = ?", (number,)
    ).fetchone()
    return row["runner"] if row else None


def mark_to_cancel(db: Database, number: int, actor: str) -> None:
    """Let the process that runs it know why it is told to stop."""
    with db.writing() as connection:
        connection.execute(
            "UPDATE deployments SET cancelled_by = ? WHERE number = ? AND status = 'running'",
            (actor, number),
        )


def cancel_queued(
    db: Database, number: int, reason: str, now: float, *, by: str | None = None
) -> bool:
    """Drop a deployment that nobody has begun -> whether it was still in the queue.

    What a person dropped, ``by``, does not come again by itself.
    """
    with db.writing() as connection:
        cursor = connection.execute(
            "UPDATE deployments SET status = 'cancelled', finished_at = ?, reason = ?,"
            " cancelled_by = ? WHERE number = ? AND status = 'queued'",
            (now, reason, by, number),
        )
        return cursor.rowcount == 1


def cancelled_by(db: Database, number: int) -> str | None:
    row = db.connection.execute(
        "SELECT cancelled_by FROM deployments WHERE number = ?", (number,)
    ).fetchone()
    return row["cancelled_by"] if row else None


def begin_stage(db: Database, number: int, stage: StageRecord, *, urgent: bool = False) -> int:
    """-> the stage's row, for :func:`end_stage`."""

    def write(connection: sqlite3.Connection) -> int:
        cursor = connection.execute(
            "INSERT INTO stages (deployment, name, status, host, started_at, log_start, usual)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                stage.name,
                stage.status,
                stage.host,
                stage.started_at,
                stage.log_start,
                stage.usual,
            ),
        )
        return int(cursor.lastrowid or 0)

    return db.write(write, urgent=urgent)


def end_stage(db: Database, row: int, stage: StageRecord, *, urgent: bool = False) -> None:
    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE stages SET status = ?, duration = ?, log_end = ? WHERE id = ?",
            (stage.status, stage.duration, stage.log_end, row),
        )
        connection.executemany(
            "INSERT INTO steps"
            " (position, stage, command, exit_code, duration, log_start, log_end)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(position, row, *astuple(step)) for position, step in enumerate(stage.steps)],
        )

    db.write(write, urgent=urgent)


def forget_stages(connection: sqlite3.Connection, number: int) -> None:
    """An interrupted attempt's stages give way to those of the next attempt."""
    connection.execute(
        "DELETE FROM steps WHERE stage IN (SELECT id FROM stages WHERE deployment = ?)", (number,)
    )
    connection.execute("DELETE FROM stages WHERE deployment = ?", (number,))


def with_kept_logs(db: Database) -> set[int]:
    """However old they are: the newest that each repo has begun, and what is under way."""
    rows = db.connection.execute(
        "SELECT max(number) AS number FROM deployments WHERE started_at IS NOT NULL GROUP BY repo"
        " UNION SELECT number FROM deployments WHERE status = 'queued' OR status = 'running'"
    )
    return {int(row["number"]) for row in rows}


def select(db: Database, where: str, values: Sequence[Any], limit: int) -> list[Deployment]:
    """The newest deployments first that a condition (SQL of ours) is true of, with their stages."""
    rows = db.connection.execute(
        f"SELECT * FROM deployments WHERE {where} ORDER BY number DESC LIMIT ?",  # noqa: S608 - ours
        (*values, limit),
    ).fetchall()
    stages = _stages_of(db, [row["number"] for row in rows])
    return [_deployment(row, stages.get(row["number"], ())) for row in rows]


def _deployment(row: sqlite3.Row, stages: Sequence[StageRecord]) -> Deployment:
    failure = json.loads(row["failure"]) if row["failure"] else None
    return Deployment(
        number=row["number"],
        repo=row["repo"],
        task=row["task"],
        trigger=row["trigger"],
        actor=row["actor"],
        status=row["status"],
        phase=row["phase"],
        ref=row["ref"],
        wanted_revision=row["wanted_revision"],
        revision=row["revision"],
        previous_revision=row["previous_revision"],
        release=row["release"],
        previous_link=row["previous_link"],
        subject=row["subject"],
        delivery=row["delivery"],
        rollback_of=row["rollback_of"],
        rollback_to=row["rollback_to"],
        forced=bool(row["forced"]),
        awaits=row["awaits"],
        by_hand=bool(row["by_hand"]),
        attempts=row["attempts"],
        queued_at=row["queued_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        reason=row["reason"],
        failure=Failure(**failure) if failure else None,
        superseded_by=row["superseded_by"],
        stages=tuple(stages),
    )


def _stages_of(db: Database, numbers: Sequence[int]) -> dict[int, list[StageRecord]]:
    stages: dict[int, list[StageRecord]] = {}
    rows = db.connection.execute(
        "SELECT * FROM stages WHERE deployment IN (SELECT value FROM json_each(?)) ORDER BY id",
        (json.dumps(numbers),),
    ).fetchall()
    steps = _steps_of(db, [row["id"] for row in rows])
    for row in rows:
        record = StageRecord(
            name=row["name"],
            status=row["status"],
            started_at=row["started_at"],
            duration=row["duration"],
            host=row["host"],
            log_start=row["log_start"],
            log_end=row["log_end"],
            steps=tuple(steps.get(row["id"], ())),
            usual=row["usual"],
        )
        stages.setdefault(row["deployment"], []).append(record)
    return stages


def _steps_of(db: Database, stages: Sequence[int]) -> dict[int, list[StepRecord]]:
    steps: dict[int, list[StepRecord]] = {}
    for row in db.connection.execute(
        "SELECT * FROM steps WHERE stage IN (SELECT value FROM json_each(?))"
        " ORDER BY stage, position",
        (json.dumps(stages),),
    ):
        step = StepRecord(
            row["command"], row["exit_code"], row["duration"], row["log_start"], row["log_end"]
        )
        steps.setdefault(row["stage"], []).append(step)
    return steps
