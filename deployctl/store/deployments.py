"""The history: queries and changes of deployments, with their stages and steps."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from deployctl.store import queue
from deployctl.store.database import Database
from deployctl.values.deployment import (
    PHASES_WITHOUT_EFFECT,
    REFUSED,
    Deployment,
    Failure,
    StageRecord,
    StepRecord,
)

# The usual duration is taken from at most _MAX_RUNS runs of a stage, among the last
# _MAX_DEPLOYMENTS deployments. With fewer runs than _MIN_RUNS no duration is usual yet.
_MAX_RUNS, _MAX_DEPLOYMENTS, _MIN_RUNS = 20, 100, 5


def get(db: Database, number: int) -> Deployment | None:
    """Return a deployment with its stages, or None if no deployment has this number."""
    found = select(db, "number = ?", (number,), 1)
    return found[0] if found else None


def history(db: Database, repo: str | None, limit: int) -> list[Deployment]:
    """Return the newest deployments of one repo, or of all if None, newest first."""
    return select(db, "repo = ?", (repo,), limit) if repo else select(db, "1", (), limit)


def running(db: Database, repo: str) -> Deployment | None:
    """Return the repo's deployment that the record calls running, or None.

    Its process may be dead: then nothing has changed its status yet.
    """
    found = select(db, "repo = ? AND status = 'running'", (repo,), 1)
    return found[0] if found else None


def all_running(db: Database) -> list[Deployment]:
    """Return the running deployments of all repos, newest first."""
    return select(db, "status = 'running'", (), 100)


def queued(db: Database, repo: str) -> list[Deployment]:
    """Return the repo's queued deployments, newest first; also one that waits for checks."""
    return select(db, "repo = ? AND status = 'queued'", (repo,), 100)


def newest_finished(db: Database, repo: str) -> Deployment | None:
    """Return the repo's newest finished deployment, or None.

    One that a newer request superseded, or that deployctl refused, is left out: it tells nothing
    about the state of the repo.
    """
    ended = "repo = ? AND status NOT IN ('queued', 'running', 'superseded') AND phase != ?"
    found = select(db, ended, (repo, REFUSED), 1)
    return found[0] if found else None


def newest_tried(db: Database, repo: str) -> Deployment | None:
    """Return the repo's newest deployment that tried to bring something live, or None.

    Its status is ``succeeded``, ``failed``, ``rolled_back`` or ``degraded``, and so tells whether
    the repo works. One that had nothing to do (unchanged or ignored) is left out.
    """
    tried = "repo = ? AND status IN ('succeeded', 'failed', 'rolled_back', 'degraded')"
    found = select(db, f"{tried} AND phase NOT IN (?, ?)", (repo, *PHASES_WITHOUT_EFFECT), 1)
    return found[0] if found else None


def find_that_made_live(
    db: Database, repo: str, revision: str | None, release: str | None
) -> Deployment | None:
    """Return the newest deployment or rollback that made this revision live, or None.

    ``revision`` is a full commit sha and ``release`` the name of the release's directory, None in
    place; both must match. Only a deployment that succeeded counts, and not one that found the
    revision live already. If ``revision`` is None, so is the result.
    """
    found = select(
        db,
        "repo = ? AND status = 'succeeded' AND phase NOT IN (?, ?) AND revision = ?"
        " AND release IS ?",
        (repo, *PHASES_WITHOUT_EFFECT, revision, release),
        1,
    )
    return found[0] if found else None


def claim(db: Database, number: int, runner: str, now: float) -> bool:
    """Change a queued deployment to running, for one process only; tell whether it was changed.

    False if another process has claimed it before, if another one of the repo has its turn first,
    if it is not queued or waits for checks, or if a person locked the repo. ``runner`` is the
    identity of this process, as JSON; ``now`` is in seconds since the epoch. The failure of an
    earlier attempt is removed; an automatic rollback keeps the one that it was queued for.
    """
    with db.writing() as connection:
        repo = repo_of(db, number)
        if repo is None or queue.next_of(db, repo) != number:
            return False
        cursor = connection.execute(
            "UPDATE deployments SET status = 'running', phase = 'claimed', started_at = ?,"
            " runner = ?, attempts = attempts + 1,"
            " failure = CASE WHEN trigger = 'auto' THEN failure END"
            " WHERE number = ?"
            " AND NOT EXISTS (SELECT 1 FROM locks WHERE locks.repo = deployments.repo)",
            (now, runner, number),
        )
        return cursor.rowcount == 1


def repo_of(db: Database, number: int) -> str | None:
    """Return the name of a deployment's repo, or None if there is no such deployment."""
    row = db.connection.execute(
        "SELECT repo FROM deployments WHERE number = ?", (number,)
    ).fetchone()
    return row["repo"] if row else None


def update_columns(db: Database, number: int, **columns: str | int | None) -> None:
    """Store columns of a deployment once they are known: ref, revision, phase and so on."""
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
    """Store how a deployment ended, in the caller's transaction.

    ``reason`` or ``failure`` None keeps what is stored already: an automatic rollback keeps the
    failure that it was queued for. A failed or degraded deployment always gets a failure; if it
    failed in no stage, its stage is ``worker``. ``now`` is in seconds since the epoch.
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
    """Return the process that runs a deployment, as JSON that :func:`claim` stored.

    None if it does not run, or if there is no such deployment.
    """
    row = db.connection.execute(
        "SELECT runner FROM deployments WHERE number = ?", (number,)
    ).fetchone()
    return row["runner"] if row else None


def record_cancelled_by(db: Database, number: int, actor: str) -> None:
    """Store who cancels a running deployment, before its process is told to stop.

    The process reads it with :func:`cancelled_by`, so that it knows why it got the signal.
    """
    with db.writing() as connection:
        connection.execute(
            "UPDATE deployments SET cancelled_by = ? WHERE number = ? AND status = 'running'",
            (actor, number),
        )


def cancel_queued(
    db: Database, number: int, reason: str, now: float, *, by: str | None = None
) -> bool:
    """Cancel a deployment that is still queued; tell whether it was.

    ``by`` is the person who cancelled it, if one did: then its revision is not queued again
    automatically. ``now`` is in seconds since the epoch.
    """
    with db.writing() as connection:
        cursor = connection.execute(
            "UPDATE deployments SET status = 'cancelled', finished_at = ?, reason = ?,"
            " cancelled_by = ? WHERE number = ? AND status = 'queued'",
            (now, reason, by, number),
        )
        return cursor.rowcount == 1


def cancelled_by(db: Database, number: int) -> str | None:
    """Return who cancelled a deployment; None if nobody did or there is no such deployment."""
    row = db.connection.execute(
        "SELECT cancelled_by FROM deployments WHERE number = ?", (number,)
    ).fetchone()
    return row["cancelled_by"] if row else None


def begin_stage(db: Database, number: int, stage: StageRecord, *, urgent: bool = False) -> int:
    """Store a stage that begins; return the id of its row, for :func:`end_stage`.

    ``urgent`` is explained in :meth:`Database.write`.
    """

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
    """Store how a stage ended, and its steps; ``row`` is what :func:`begin_stage` returned."""

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


def forget_stages(connection: sqlite3.Connection, number: int) -> None:
    """Remove the stages and steps of an interrupted attempt, in the caller's transaction.

    The next attempt of the deployment then stores its own.
    """
    connection.execute(
        "DELETE FROM steps WHERE stage IN (SELECT id FROM stages WHERE deployment = ?)", (number,)
    )
    connection.execute("DELETE FROM stages WHERE deployment = ?", (number,))


def keeps_its_log(db: Database, number: int) -> bool:
    """Tell whether the log of a deployment is kept, however old it is.

    It is that of a deployment that is queued or running, or that of the newest one that its repo
    has begun.
    """
    row = db.connection.execute(
        "SELECT repo, status FROM deployments WHERE number = ?", (number,)
    ).fetchone()
    if row is None:
        return False
    newer = db.connection.execute(
        "SELECT 1 FROM deployments WHERE repo = ? AND number > ? AND started_at IS NOT NULL"
        " ORDER BY number DESC LIMIT 1",
        (row["repo"], number),
    ).fetchone()
    return row["status"] in ("queued", "running") or newer is None


def select(db: Database, where: str, values: Sequence[Any], limit: int) -> list[Deployment]:
    """Return at most ``limit`` deployments with their stages, newest first.

    ``where`` is a condition in SQL, always from our own code; ``values`` fill its ``?``.
    """
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
        for_newest_state=bool(row["for_newest_state"]),
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
