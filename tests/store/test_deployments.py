"""The history: deployments are read as they were written, and queries use an index."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployctl.store import deployments, queue
from deployctl.store.database import Database
from deployctl.values.deployment import Deployment, Failure, StageRecord, StepRecord

SHA = "3f2a9c1b7d20" + "0" * 28


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


@pytest.fixture
def db(state: str) -> Iterator[Database]:
    with Database(state) as database:
        yield database


def add(db: Database, repo: str = "blog") -> int:
    with db.writing() as connection:
        return queue.enqueue(connection, repo=repo, trigger="cli", actor="ada", now=100.0)


def end(db: Database, number: int, status: str, **facts: str | None) -> None:
    deployments.claim(db, number, "me", 110.0)
    if facts:
        deployments.update_columns(db, number, **facts)
    with db.writing() as connection:
        deployments.finish(connection, number, status=status, reason=None, failure=None, now=150.5)


def found(db: Database, number: int) -> Deployment:
    deployment = deployments.get(db, number)
    assert deployment is not None
    return deployment


def numbers(found: list[Deployment]) -> list[int]:
    return [deployment.number for deployment in found]


# one deployment


def test_an_unknown_number_has_no_deployment(db: Database) -> None:
    assert deployments.get(db, 1) is None


def test_a_queued_deployment_is_claimed_once(state: str, db: Database) -> None:
    number = add(db)
    won: list[bool] = []

    def claim() -> None:
        with Database(state) as mine:
            won.append(deployments.claim(mine, number, "me", 110.0))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    claimed = found(db, number)
    assert (claimed.status, claimed.phase, claimed.started_at) == ("running", "claimed", 110.0)
    assert deployments.runner_of(db, number) == "me"


def test_facts_of_a_running_deployment_are_stored(db: Database) -> None:
    number = add(db)
    deployments.claim(db, number, "me", 110.0)
    deployments.update_columns(db, number, ref="refs/heads/main", revision=SHA, subject="Fix")
    deployments.update_columns(
        db, number, phase="building", previous_link="releases/1", release="2-3f2a"
    )
    noted = found(db, number)
    assert (noted.ref, noted.revision, noted.subject) == ("refs/heads/main", SHA, "Fix")
    assert (noted.phase, noted.previous_link, noted.release) == (
        "building",
        "releases/1",
        "2-3f2a",
    )


def test_the_outcome_is_stored_with_its_failure(db: Database) -> None:
    failure = Failure(
        stage="build",
        message="step 2 failed: exit code 3",
        step=2,
        command="make",
        exit_code=3,
        signal=None,
        timed_out=False,
        host="web1",
        tail="grün\n\udcff",
    )
    number = add(db)
    deployments.claim(db, number, "me", 110.0)
    with db.writing() as connection:
        deployments.finish(
            connection, number, status="failed", reason="it broke", failure=failure, now=150.5
        )
    ended = found(db, number)
    assert (ended.status, ended.phase, ended.reason) == ("failed", "", "it broke")
    assert ended.failure == failure
    assert ended.duration == 40.5
    assert deployments.runner_of(db, number) is None


def test_a_reason_stays_if_the_outcome_has_none(db: Database) -> None:
    number = add(db)
    with db.writing() as connection:
        queue.requeue(connection, "blog", number, "its process died", 105.0)
    end(db, number, "succeeded")
    assert found(db, number).reason == "its process died"


def test_a_second_attempt_removes_the_failure_of_the_first(db: Database) -> None:
    number = add(db)
    with db.writing() as connection:
        failure = Failure("build", "broke")
        deployments.finish(
            connection, number, status="failed", reason=None, failure=failure, now=1.0
        )
        queue.requeue(connection, "blog", number, "again", 2.0)
    deployments.claim(db, number, "me", 3.0)
    assert found(db, number).failure is None


# stages


def test_stages_and_steps_are_read_as_they_were_written(db: Database) -> None:
    number, other = add(db), add(db, "shop")
    steps = (
        StepRecord("make", 0, 1.5, 20, 30),
        StepRecord("echo 'grün'\n", None, 0.25),
        StepRecord("false", 1, None),
    )
    build = StageRecord("build", "failed", 110.0, 2.5, "web1", 10, 99, steps, 0.5)
    row = deployments.begin_stage(
        db, number, StageRecord("build", "running", 110.0, log_start=10, host="web1", usual=0.5)
    )
    assert found(db, number).stages == (
        StageRecord("build", "running", 110.0, None, "web1", 10, None, usual=0.5),
    )
    deployments.end_stage(db, row, build)
    rollback = StageRecord("rollback", "running", 120.0, log_start=99)
    deployments.begin_stage(db, number, rollback)
    deployments.begin_stage(db, other, StageRecord("fetch", "running", 115.0))
    assert found(db, number).stages == (build, rollback)
    assert [stage.name for stage in found(db, other).stages] == ["fetch"]


def test_the_stages_of_an_interrupted_attempt_are_removed(db: Database) -> None:
    number, other = add(db), add(db, "shop")
    for deployment in (number, other):
        row = deployments.begin_stage(db, deployment, StageRecord("build", "running", 110.0))
        done = StageRecord("build", "succeeded", 110.0, 1.0, steps=(StepRecord("make", 0, 1.0),))
        deployments.end_stage(db, row, done)
    with db.writing() as connection:
        deployments.forget_stages(connection, number)
    assert found(db, number).stages == ()
    assert len(found(db, other).stages[0].steps) == 1
    assert db.connection.execute("SELECT count(*) FROM steps").fetchone()[0] == 1


# many deployments


def test_the_history_is_newest_first_and_of_one_repo_or_all(db: Database) -> None:
    blog, shop, newest = add(db), add(db, "shop"), add(db)
    assert numbers(deployments.history(db, None, 10)) == [newest, shop, blog]
    assert numbers(deployments.history(db, "blog", 10)) == [newest, blog]
    assert numbers(deployments.history(db, "blog", 1)) == [newest]
    assert deployments.history(db, "none", 10) == []


def test_running_and_queued_deployments_are_found(db: Database) -> None:
    blog, shop = add(db), add(db, "shop")
    deployments.claim(db, blog, "me", 110.0)
    waiting = add(db)
    running = deployments.running(db, "blog")
    assert running is not None
    assert running.number == blog
    assert deployments.running(db, "shop") is None
    assert numbers(deployments.all_running(db)) == [blog]
    assert numbers(deployments.queued(db, "blog")) == [waiting]
    assert numbers(deployments.queued(db, "shop")) == [shop]


def test_the_newest_finished_deployment_is_not_a_superseded_or_running_one(db: Database) -> None:
    assert deployments.newest_finished(db, "blog") is None
    failed = add(db)
    end(db, failed, "failed")
    add(db)
    add(db)
    deployments.claim(db, add(db), "me", 110.0)
    newest = deployments.newest_finished(db, "blog")
    assert newest is not None
    assert newest.number == failed


def test_the_deployment_that_made_a_revision_live_is_found_by_its_release(db: Database) -> None:
    expected = []
    for release in ("1-a", "2-a", None):
        expected.append(add(db))
        end(db, expected[-1], "succeeded", revision=SHA, release=release)
    end(db, add(db), "failed", revision=SHA, release="1-a")
    end(db, add(db, "shop"), "succeeded", revision=SHA, release="1-a")

    def number(release: str | None, revision: str = SHA) -> int | None:
        made_live_by = deployments.find_that_made_live(db, "blog", revision, release)
        return made_live_by.number if made_live_by else None

    assert [number(release) for release in ("1-a", "2-a", None)] == expected
    assert number("3-a") is None
    assert number("1-a", "f" * 40) is None


def test_an_unchanged_deployment_did_not_make_its_revision_live(db: Database) -> None:
    first, second = add(db), None
    end(db, first, "succeeded", revision=SHA, release="1-a")
    second = add(db)
    deployments.claim(db, second, "me", 110.0)
    deployments.update_columns(db, second, revision=SHA, release="1-a")
    with db.writing() as connection:
        deployments.finish(
            connection,
            second,
            status="succeeded",
            reason="was live already",
            failure=None,
            now=1.0,
            phase="unchanged",
        )
    made_live_by = deployments.find_that_made_live(db, "blog", SHA, "1-a")
    assert made_live_by is not None
    assert made_live_by.number == first


# cancelling


def test_a_queued_deployment_is_cancelled_and_never_claimed(db: Database) -> None:
    number = add(db)
    assert deployments.cancel_queued(db, number, "cancelled by ada", 120.0)
    assert not deployments.cancel_queued(db, number, "again", 130.0)
    assert not deployments.claim(db, number, "me", 140.0)
    cancelled = found(db, number)
    assert (cancelled.status, cancelled.reason, cancelled.finished_at) == (
        "cancelled",
        "cancelled by ada",
        120.0,
    )


def test_the_actor_who_cancels_a_running_deployment_is_stored(db: Database) -> None:
    number = add(db)
    deployments.record_cancelled_by(db, number, "too early")
    assert deployments.cancelled_by(db, number) is None
    deployments.claim(db, number, "me", 110.0)
    assert not deployments.cancel_queued(db, number, "too late", 120.0)
    deployments.record_cancelled_by(db, number, "ada")
    assert deployments.cancelled_by(db, number) == "ada"
    assert deployments.cancelled_by(db, 99) is None
    assert deployments.runner_of(db, 99) is None


# ten thousand deployments

QUERIES = (
    lambda db: deployments.history(db, "blog", 20),
    lambda db: deployments.history(db, None, 20),
    lambda db: deployments.running(db, "blog"),
    deployments.all_running,
    lambda db: deployments.queued(db, "blog"),
    lambda db: deployments.newest_finished(db, "blog"),
    lambda db: deployments.find_that_made_live(db, "blog", SHA, None),
    queue.waiting,
    queue.running,
    add,
)


@pytest.fixture
def long_history(db: Database) -> Database:
    with db.writing() as connection:
        connection.executemany(
            "INSERT INTO deployments (repo, task, trigger, actor, status, revision, queued_at)"
            " VALUES (?, 'deploy', 'cli', 'ada', ?, ?, 1)",
            (
                ("blog" if number % 3 else "shop", "failed" if number % 5 else "succeeded", SHA)
                for number in range(10_000)
            ),
        )
    return db


@pytest.mark.parametrize("query", range(len(QUERIES)))
def test_no_query_reads_the_whole_history(long_history: Database, query: int) -> None:
    """SQLite calls the handler once every 10 instructions of its virtual machine."""
    calls = 0

    def count() -> int:
        nonlocal calls
        calls += 1
        return 0

    long_history.connection.set_progress_handler(count, 10)
    QUERIES[query](long_history)
    assert calls * 10 < 5_000


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ("repo = 'blog'", "deployments_of_repo"),
        (
            "repo = 'blog' AND status NOT IN ('queued', 'running', 'superseded')",
            "deployments_of_repo",
        ),
        ("repo = 'blog' AND status = 'queued'", "deployments_open"),
        ("status = 'running'", "deployments_open"),
        (
            "repo = 'blog' AND status = 'succeeded' AND revision = 'x' AND release IS NULL",
            "deployments_succeeded",
        ),
    ],
)
def test_queries_use_an_index(db: Database, where: str, index: str) -> None:
    plan = db.connection.execute(
        f"EXPLAIN QUERY PLAN SELECT * FROM deployments WHERE {where} ORDER BY number DESC LIMIT 20"
    ).fetchall()
    assert f"USING INDEX {index} " in plan[0]["detail"]
