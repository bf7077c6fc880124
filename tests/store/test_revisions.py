"""What a stage usually takes, from the record of the runs before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from deployctl.store import deployments, queue, revisions
from deployctl.store.database import Database
from deployctl.values.deployment import StageRecord


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(str(tmp_path / "state")) as database:
        yield database


def ran(db: Database, *runs: tuple[str, float], repo: str = "blog") -> int:
    """A deployment whose stage ``build`` ran so, time by time -> its number."""
    with db.writing() as connection:
        number = queue.enqueue(connection, repo=repo, trigger="cli", actor="ada", now=100.0)
    for status, took in runs:
        row = deployments.begin_stage(db, number, StageRecord("build", "running", 100.0))
        deployments.end_stage(db, row, StageRecord("build", status, 100.0, took))
    return number


def succeeded(db: Database, times: Sequence[float], repo: str = "blog") -> None:
    for took in times:
        ran(db, ("succeeded", took), repo=repo)


def test_it_is_the_median_of_the_runs_before(db: Database) -> None:
    succeeded(db, [1, 9, 2, 100, 3])
    now = ran(db, ("succeeded", 50.0))
    assert revisions.usual_duration(db, now, "build") == 3.0
    assert revisions.usual_duration(db, now, "test") is None


def test_nothing_is_usual_before_the_fifth_time(db: Database) -> None:
    succeeded(db, [1, 2, 3, 4])
    ran(db, ("failed", 5.0), ("cancelled", 5.0))
    succeeded(db, [5, 5, 5, 5, 5], repo="shop")
    assert revisions.usual_duration(db, ran(db), "build") is None


def test_only_the_last_twenty_runs_count(db: Database) -> None:
    succeeded(db, [100] * 30 + [1] * 20)
    assert revisions.usual_duration(db, ran(db), "build") == 1.0


def test_it_is_asked_of_indexes_however_long_the_history_is(db: Database) -> None:
    asked: list[str] = []
    db.connection.set_trace_callback(asked.append)
    revisions.usual_duration(db, ran(db), "build")
    db.connection.set_trace_callback(None)
    plan = db.connection.execute(f"EXPLAIN QUERY PLAN {asked[-1]}").fetchall()
    steps = " ".join(row["detail"] for row in plan)
    assert "stages_of_deployment" in steps
    assert "deployments_of_repo" in steps
    assert "SCAN stages" not in steps
