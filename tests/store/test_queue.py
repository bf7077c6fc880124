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
    return [each.status for each in reversed(deployments.history(db, None, 100))]


def test_what_is_asked_for_is_what_is_queued(db: Database) -> None:
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


def test_a_newer_request_takes_the_place_of_the_queued_one(db: Database) -> None:
    first, second = add(db, now=100.0), add(db, now=200.0)
    assert queue.waiting(db) == [(second, "blog")]
    replaced = found(db, first)
    assert replaced.status == "superseded"
    assert replaced.superseded_by == second
    assert replaced.finished_at == 200.0
    assert replaced.reason == f"a newer request, #{second}, took its place"


def test_a_request_leaves_other_repos_and_what_runs_alone(db: Database) -> None:
    running, other = add(db), add(db, "shop")
    deployments.claim(db, running, "me", 110.0)
    waiting = add(db)
    assert queue.waiting(db) == [(other, "shop"), (waiting, "blog")]
    assert queue.running(db) == [(running, "blog")]


def test_a_request_that_is_given_up_leaves_the_queue_as_it_was(db: Database) -> None:
    first = add(db)
    with pytest.raises(ZeroDivisionError), db.writing() as connection:
        queue.enqueue(connection, repo="blog", trigger="cli", actor="ada", now=1.0)
        raise ZeroDivisionError
    assert queue.waiting(db) == [(first, "blog")]


def test_what_was_interrupted_is_put_back(db: Database) -> None:
    number = add(db)
    deployments.claim(db, number, "me", 110.0)
    assert put_back(db, number) == number
    again = found(db, number)
    assert (again.status, again.phase, again.reason) == ("queued", "", "its process died")
    assert (again.started_at, again.attempts) == (None, 1)
    assert deployments.runner_of(db, number) is None
    assert deployments.claim(db, number, "me", 310.0)
    assert found(db, number).attempts == 2


def test_what_is_put_back_gives_way_to_a_newer_request(db: Database) -> None:
    old = add(db)
    deployments.claim(db, old, "me", 110.0)
    new = add(db)
    assert put_back(db, old) == new
    assert found(db, old).superseded_by == new
    assert queue.waiting(db) == [(new, "blog")]


def test_a_newer_request_also_replaces_what_was_put_back(db: Database) -> None:
    old = add(db)
    deployments.claim(db, old, "me", 110.0)
    put_back(db, old)
    new = add(db)
    assert queue.waiting(db) == [(new, "blog")]
    assert statuses(db) == ["superseded", "queued"]


def test_a_rollback_takes_the_place_of_a_deployment_and_the_other_way_round(db: Database) -> None:
    for order in (queue.Order(), queue.Order.rollback(), queue.Order()):
        with db.writing() as connection:
            queue.enqueue(connection, repo="blog", trigger="cli", actor="ada", now=1.0, order=order)
    assert statuses(db) == ["superseded", "superseded", "queued"]


def test_numbers_are_never_given_again(db: Database) -> None:
    number = add(db)
    with db.writing() as connection:
        connection.execute("DELETE FROM deployments")
    assert add(db) == number + 1
