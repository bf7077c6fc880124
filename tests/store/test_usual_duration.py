"""The usual duration of a stage, taken from its earlier runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from deployctl.store import deployments, queue
from deployctl.store.database import Database
from deployctl.values.deployment import StageRecord


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(str(tmp_path / "state")) as database:
        yield database


def add(db: Database, *runs: tuple[str, float], repo: str = "blog") -> int:
    """Queue a deployment with these runs (status, seconds) of its stage ``build``.

    Return its number.
    """
    with db.writing() as connection:
        number = queue.enqueue(connection, repo=repo, trigger="cli", actor="ada", now=100.0)
    for status, seconds in runs:
        row = deployments.begin_stage(db, number, StageRecord("build", "running", 100.0))
        deployments.end_stage(db, row, StageRecord("build", status, 100.0, seconds))
    return number


def add_successes(db: Database, durations: Sequence[float], repo: str = "blog") -> None:
    for seconds in durations:
        add(db, ("succeeded", seconds), repo=repo)


def test_the_usual_duration_is_the_median_of_the_earlier_runs(db: Database) -> None:
    add_successes(db, [1, 9, 2, 100, 3])
    newest = add(db, ("succeeded", 50.0))
    assert deployments.usual_duration(db, newest, "build") == 3.0
    assert deployments.usual_duration(db, newest, "test") is None


def test_there_is_no_usual_duration_before_five_successful_runs(db: Database) -> None:
    add_successes(db, [1, 2, 3, 4])
    add(db, ("failed", 5.0), ("cancelled", 5.0))
    add_successes(db, [5, 5, 5, 5, 5], repo="shop")
    assert deployments.usual_duration(db, add(db), "build") is None


def test_only_the_last_twenty_runs_count_for_the_usual_duration(db: Database) -> None:
    add_successes(db, [100] * 30 + [1] * 20)
    assert deployments.usual_duration(db, add(db), "build") == 1.0


def test_the_query_of_the_usual_duration_uses_indexes(db: Database) -> None:
    statements: list[str] = []
    db.connection.set_trace_callback(statements.append)
    deployments.usual_duration(db, add(db), "build")
    db.connection.set_trace_callback(None)
    plan = db.connection.execute(f"EXPLAIN QUERY PLAN {statements[-1]}").fetchall()
    steps = " ".join(row["detail"] for row in plan)
    assert "stages_of_deployment" in steps
    assert "deployments_of_repo" in steps
    assert "SCAN stages" not in steps
