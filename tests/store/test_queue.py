"""The queue: the newest request of a repo is the one that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployctl.store import deployments, queue
from deployctl.store.database import Database
from deployctl.values.deployment import Deployment


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(str(tmp_path / "state")) as database:
        yield database


def add(db: Database, repo: str = "blog", now: float = 100.0) -> int:
    with db.writing() as connection:
        return queue.enqueue(connection, repo=repo, trigger="cli", actor="ada", now=now)


def put_back(db: Database, number: int, repo: str = "blog") -> int:
    with db.writing() as connection:
        return queue.requeue(connection, repo, number, "its process died", 300.0)


def found(db: Database, number: int) -> Deployment:
    deployment = deployments.get(db, number)
    assert deployment is not None
    return deployment


def statuses(db: Database) -> list[str]:
    oldest_first = reversed(deployments.history(db, None, 100))
    return [deployment.status for deployment in oldest_first]


def test_an_order_is_queued_with_all_its_fields(db: Database) -> None:
    order = queue.Order(
        ref="refs/heads/main", revision="3f2a9c1", subject="Fix the door", forced=True
    )
    order.task, order.rollback_to = "rollback", "2"
    with db.writing() as connection:
        number = queue.enqueue(
            connection,
            repo="blog",
            trigger="ssh",
            actor="ada",
            now=100.0,
            order=order,
            delivery=3,
        )
    assert found(db, number) == Deployment(
        number=1,
        repo="blog",
        task="rollback",
        trigger="ssh",
        actor="ada",
        status="queued",
        queued_at=100.0,
        ref="refs/heads/main",
        wanted_revision="3f2a9c1",
        rollback_to="2",
        delivery=3,
        subject="Fix the door",
        forced=True,
    )


def test_a_newer_request_supersedes_the_queued_one(db: Database) -> None:
    first, second = add(db, now=100.0), add(db, now=200.0)
    assert queue.waiting(db) == [(second, "blog")]
    superseded = found(db, first)
    assert superseded.status == "superseded"
    assert superseded.superseded_by == second
    assert superseded.finished_at == 200.0
    assert superseded.reason == f"a newer request, #{second}, took its place"


def test_a_request_does_not_supersede_other_repos_or_a_running_deployment(db: Database) -> None:
    running, other = add(db), add(db, "shop")
    deployments.claim(db, running, "me", 110.0)
    waiting = add(db)
    assert queue.waiting(db) == [(other, "shop"), (waiting, "blog")]
    assert queue.running(db) == [(running, "blog")]


def test_a_request_that_is_rolled_back_leaves_the_queue_unchanged(db: Database) -> None:
    first = add(db)
    with pytest.raises(ZeroDivisionError), db.writing() as connection:
        queue.enqueue(connection, repo="blog", trigger="cli", actor="ada", now=1.0)
        raise ZeroDivisionError
    assert queue.waiting(db) == [(first, "blog")]


def test_an_interrupted_deployment_is_queued_again(db: Database) -> None:
    number = add(db)
    deployments.claim(db, number, "me", 110.0)
    assert put_back(db, number) == number
    requeued = found(db, number)
    assert (requeued.status, requeued.phase, requeued.reason) == ("queued", "", "its process died")
    assert (requeued.started_at, requeued.attempts) == (None, 1)
    assert deployments.runner_of(db, number) is None
    assert deployments.claim(db, number, "me", 310.0)
    assert found(db, number).attempts == 2


def test_a_requeued_deployment_is_superseded_by_a_newer_request_that_waits(db: Database) -> None:
    old = add(db)
    deployments.claim(db, old, "me", 110.0)
    new = add(db)
    assert put_back(db, old) == new
    assert found(db, old).superseded_by == new
    assert queue.waiting(db) == [(new, "blog")]


def test_a_requeued_deployment_is_superseded_by_a_later_request(db: Database) -> None:
    old = add(db)
    deployments.claim(db, old, "me", 110.0)
    put_back(db, old)
    new = add(db)
    assert queue.waiting(db) == [(new, "blog")]
    assert statuses(db) == ["superseded", "queued"]


def test_rollbacks_and_deployments_supersede_each_other(db: Database) -> None:
    for order in (queue.Order(), queue.Order.rollback(), queue.Order()):
        with db.writing() as connection:
            queue.enqueue(connection, repo="blog", trigger="cli", actor="ada", now=1.0, order=order)
    assert statuses(db) == ["superseded", "superseded", "queued"]


def test_numbers_are_never_used_twice(db: Database) -> None:
    number = add(db)
    with db.writing() as connection:
        connection.execute("DELETE FROM deployments")
    assert add(db) == number + 1
