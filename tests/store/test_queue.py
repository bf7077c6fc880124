"""The queue: who has the next turn, and which request takes the place of which."""

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


def ask(db: Database, trigger: str, order: queue.Order | None = None, now: float = 100.0) -> int:
    with db.writing() as connection:
        return queue.enqueue(
            connection, repo="blog", trigger=trigger, actor="ada", now=now, order=order
        )


def claim(db: Database, number: int) -> bool:
    return deployments.claim(db, number, "me", 110.0)


def put_back(db: Database, number: int, repo: str = "blog") -> None:
    with db.writing() as connection:
        queue.requeue(connection, repo, number, "its process died", 300.0)


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


def test_an_automatic_request_supersedes_older_ones_for_the_newest_state(db: Database) -> None:
    first, plain = ask(db, "webhook"), ask(db, "cli")
    second = ask(db, "cron", now=200.0)
    assert queue.waiting(db) == [(second, "blog")]
    for number in (first, plain):
        superseded = found(db, number)
        assert superseded.status == "superseded"
        assert superseded.superseded_by == second
        assert superseded.finished_at == 200.0
        assert superseded.reason == f"a newer request, #{second}, took its place"


BY_NAME = {
    "a ref": queue.Order(ref="refs/heads/hotfix", by_name=True),
    "a forced one": queue.Order(forced=True),
    "a rollback": queue.Order.rollback(),
    "a rollback to a release": queue.Order.rollback("2"),
}


@pytest.mark.parametrize("order", BY_NAME.values(), ids=BY_NAME)
@pytest.mark.parametrize("trigger", ["webhook", "cron"])
def test_what_a_person_asked_for_by_name_is_never_superseded(
    db: Database, order: queue.Order, trigger: str
) -> None:
    asked, pushed = ask(db, "cli", order), ask(db, trigger)
    assert queue.waiting(db) == [(asked, "blog"), (pushed, "blog")]


@pytest.mark.parametrize("order", [queue.Order(), *BY_NAME.values()])
def test_what_a_person_asks_for_supersedes_nothing(db: Database, order: queue.Order) -> None:
    pushed, plain = ask(db, "webhook"), ask(db, "cli")
    ask(db, "ssh", order)
    ask(db, "webhook", queue.Order(by_hand=True))
    ask(db, "auto", queue.Order.rollback(undoes=99))
    assert statuses(db) == ["queued"] * 5
    assert {pushed, plain} < {number for number, _ in queue.waiting(db)}


def test_rollbacks_have_their_turns_first(db: Database) -> None:
    named, pushed = ask(db, "cli", queue.Order(revision="a" * 40, by_name=True)), ask(db, "webhook")
    back = ask(db, "ssh", queue.Order.rollback())
    assert [number for number, _ in queue.waiting(db)] == [back, named, pushed]
    assert queue.next_of(db, "blog") == back
    assert queue.next_of(db, "shop") is None
    assert not claim(db, named)
    assert claim(db, back)
    assert claim(db, named)


AWAITS = "a" * 40


def test_what_waits_for_its_checks_is_not_in_line(db: Database) -> None:
    """It supersedes only what waits for its checks as well, until its own have passed."""
    older = ask(db, "webhook", queue.Order(awaits=AWAITS))
    plain = ask(db, "cli")
    newer = ask(db, "webhook", queue.Order(awaits="b" * 40))
    assert statuses(db) == ["superseded", "queued", "queued"]
    assert found(db, older).superseded_by == newer
    assert queue.waiting(db) == [(plain, "blog")]
    assert not claim(db, newer)
    with db.writing() as connection:
        queue.make_able_to_run(connection, newer, "the checks passed", 200.0)
    assert (found(db, newer).awaits, found(db, newer).reason) == (None, "the checks passed")
    assert found(db, plain).superseded_by == newer
    assert queue.waiting(db) == [(newer, "blog")]


def test_the_order_is_that_in_which_they_became_able_to_run(db: Database) -> None:
    late = ask(db, "webhook", queue.Order(awaits=AWAITS))
    named = [ask(db, "cli", queue.Order(ref=ref, by_name=True)) for ref in ("refs/a", "refs/b")]
    with db.writing() as connection:
        queue.make_able_to_run(connection, late, "the checks passed", 200.0)
    last = ask(db, "cli")
    assert [number for number, _ in queue.waiting(db)] == [*named, late, last]


def test_a_rollback_that_undoes_the_same_is_the_first_one_again(db: Database) -> None:
    live = ask(db, "webhook")
    claim(db, live)
    assert queue.undone_by_a_rollback(db, "blog") == live
    first = ask(db, "cli", queue.Order.rollback(undoes=live))
    assert ask(db, "ssh", queue.Order.rollback(undoes=live)) == first
    assert ask(db, "ssh", queue.Order.rollback("1")) != first
    with db.writing() as connection:
        deployments.finish(
            connection, live, status="succeeded", reason=None, failure=None, now=120.0
        )
    assert queue.undone_by_a_rollback(db, "blog") == live
    assert claim(db, first)
    running = queue.undone_by_a_rollback(db, "blog")
    assert running == first
    assert ask(db, "ssh", queue.Order.rollback(undoes=running)) == first
    assert found(db, first).rollback_of == live
    assert queue.undone_by_a_rollback(db, "shop") is None


def test_a_request_does_not_supersede_other_repos_or_a_running_deployment(db: Database) -> None:
    running, other = add(db), add(db, "shop")
    assert claim(db, running)
    waiting = ask(db, "webhook")
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
    assert claim(db, number)
    put_back(db, number)
    requeued = found(db, number)
    assert (requeued.status, requeued.phase, requeued.reason) == ("queued", "", "its process died")
    assert (requeued.started_at, requeued.attempts) == (None, 1)
    assert deployments.runner_of(db, number) is None
    assert claim(db, number)
    assert found(db, number).attempts == 2


@pytest.mark.parametrize("trigger", ["webhook", "cli"])
def test_a_requeued_deployment_is_superseded_by_a_newer_automatic_request(
    db: Database, trigger: str
) -> None:
    old = ask(db, trigger)
    claim(db, old)
    new = ask(db, "webhook")
    put_back(db, old)
    assert found(db, old).superseded_by == new
    assert queue.waiting(db) == [(new, "blog")]


@pytest.mark.parametrize("order", BY_NAME.values(), ids=BY_NAME)
def test_a_requeued_deployment_keeps_its_name_and_its_place(
    db: Database, order: queue.Order
) -> None:
    asked = ask(db, "cli", order)
    claim(db, asked)
    ask(db, "webhook")
    new = ask(db, "webhook", queue.Order(awaits=AWAITS))
    put_back(db, asked)
    assert next(iter(queue.waiting(db))) == (asked, "blog")
    assert found(db, new).status == "queued"


def test_what_waits_for_its_checks_does_not_supersede_a_requeued_deployment(db: Database) -> None:
    old = ask(db, "webhook")
    claim(db, old)
    ask(db, "webhook", queue.Order(awaits=AWAITS))
    put_back(db, old)
    assert queue.waiting(db) == [(old, "blog")]


def test_numbers_are_never_used_twice(db: Database) -> None:
    number = add(db)
    with db.writing() as connection:
        connection.execute("DELETE FROM deployments")
    assert add(db) == number + 1
