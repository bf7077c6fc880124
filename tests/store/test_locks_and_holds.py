"""Locks of repos and holds of revisions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployctl.store import locks_and_holds
from deployctl.store.database import Database
from deployctl.store.locks_and_holds import Hold, Lock


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(str(tmp_path / "state")) as database:
        yield database


def hold(db: Database, revision: str, since: float, repo: str = "blog") -> None:
    with db.writing() as connection:
        locks_and_holds.set_hold(connection, repo, Hold(revision, since, f"why {since:g}"))


def test_a_lock_applies_to_one_repo_until_it_is_lifted(db: Database) -> None:
    assert locks_and_holds.set_lock(db, "blog", Lock("ada", 100.0, "sale"))
    assert not locks_and_holds.set_lock(db, "blog", Lock("bob", 200.0, "bigger sale"))
    lock = locks_and_holds.lock_of(db, "blog")
    assert lock is not None
    assert (lock.actor, lock.since, lock.why) == ("ada", 100.0, "sale")
    assert locks_and_holds.lock_of(db, "shop") is None
    assert [locks_and_holds.lift_lock(db, "blog") for _ in range(2)] == [True, False]
    assert locks_and_holds.lock_of(db, "blog") is None


def test_the_hold_of_a_repo_is_its_newest_one(db: Database) -> None:
    assert locks_and_holds.hold_of(db, "blog") is None
    for revision, since in (("a", 100.0), ("c", 300.0), ("b", 200.0)):
        hold(db, revision, since)
    hold(db, "d", 400.0, "shop")
    newest = locks_and_holds.hold_of(db, "blog")
    assert newest is not None
    assert (newest.revision, newest.since, newest.why) == ("c", 300.0, "why 300")


def test_each_revision_is_held_until_its_hold_is_lifted(db: Database) -> None:
    for revision in "abc":
        hold(db, revision, 100.0)
    with db.writing() as connection:
        locks_and_holds.lift_hold(connection, "blog", "b")
    held = [revision for revision in "abcd" if locks_and_holds.hold_on(db, "blog", revision)]
    assert held == ["a", "c"]
    assert locks_and_holds.hold_on(db, "shop", "a") is None
    assert [locks_and_holds.lift_holds(db, "blog") for _ in range(2)] == [True, False]
    assert locks_and_holds.hold_of(db, "blog") is None
