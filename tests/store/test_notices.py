"""The outbox: notices and the state of sending them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployctl.store import notices
from deployctl.store.database import Database
from deployctl.values.notice import Sending, Wording


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(str(tmp_path / "state")) as database:
        yield database


def add(
    db: Database, *channels: str, title: str = "blog: deployed 3f2a9c1", at: float = 100
) -> int:
    with db.writing() as connection:
        return add_within(connection, *channels, title=title, at=at)


def add_within(
    connection: sqlite3.Connection, *channels: str, title: str = "blog", at: float = 100
) -> int:
    return notices.add(
        connection,
        Wording("succeeded", title, "Fix the door\nby alice"),
        deployment=7,
        repo="blog",
        channels=channels,
        now=at,
    )


def due(db: Database, now: float) -> list[tuple[int, str]]:
    return [(notice.id, sending.channel) for notice, sending in notices.due(db, now)]


def test_a_notice_as_json_contains_its_channels(db: Database) -> None:
    number = add(db, "phone", "mail")
    notices.reserve(db, number, "phone", now=100, until=200)
    notices.mark_sent(db, number, "phone", 101.5)
    assert [notice.to_json() for notice in notices.history(db, 10)] == [
        {
            "id": number,
            "deployment": 7,
            "repo": "blog",
            "event": "succeeded",
            "title": "blog: deployed 3f2a9c1",
            "body": "Fix the door\nby alice",
            "created_at": "1970-01-01T00:01:40.000Z",
            "channels": [
                {
                    "name": "mail",
                    "state": "waiting",
                    "attempts": 0,
                    "last_error": None,
                    "sent_at": None,
                },
                {
                    "name": "phone",
                    "state": "sent",
                    "attempts": 1,
                    "last_error": None,
                    "sent_at": "1970-01-01T00:01:41.500Z",
                },
            ],
        }
    ]


def test_a_notice_is_rolled_back_together_with_the_outcome(db: Database) -> None:
    with pytest.raises(ZeroDivisionError), db.writing() as connection:
        add_within(connection, "phone")
        raise ZeroDivisionError
    assert notices.history(db, 10) == []
    assert notices.due(db, 1000) == []


def test_the_history_begins_with_the_newest(db: Database) -> None:
    for title in ("first", "second", "third"):
        add(db, "phone", title=title)
    assert [notice.title for notice in notices.history(db, 2)] == ["third", "second"]


def test_due_sendings_begin_with_the_oldest_notice(db: Database) -> None:
    first, second = add(db, "phone"), add(db, "mail", "phone")
    assert due(db, 100) == [(first, "phone"), (second, "mail"), (second, "phone")]
    assert due(db, 99) == []


def test_a_sending_is_claimed_by_one_process_only(db: Database, tmp_path: Path) -> None:
    number = add(db, "phone")
    with Database(str(tmp_path / "state")) as other:
        assert notices.reserve(db, number, "phone", now=100, until=160)
        assert not notices.reserve(other, number, "phone", now=100, until=160)
        assert due(other, 159) == []


def test_a_sending_claimed_by_a_dead_process_becomes_due_again(db: Database) -> None:
    number = add(db, "phone")
    notices.reserve(db, number, "phone", now=100, until=160)
    assert due(db, 160) == [(number, "phone")]


def test_a_failed_sending_is_due_again_at_the_retry_time(db: Database) -> None:
    number = add(db, "phone")
    notices.reserve(db, number, "phone", now=100, until=160)
    notices.mark_failed(db, number, "phone", "refused", 400)
    assert due(db, 399) == []
    assert due(db, 400) == [(number, "phone")]
    assert notices.history(db, 1)[0].sendings == (
        Sending("phone", "waiting", 1, "refused", None, 400),
    )


def test_a_sending_that_is_due_in_more_than_a_day_is_due_now(db: Database) -> None:
    number = add(db, "phone", at=1e8)
    assert due(db, 100) == [(number, "phone")]
    assert notices.reserve(db, number, "phone", now=100, until=160)
    assert due(db, 100) == []


def test_a_sending_that_was_given_up_is_due_only_after_a_retry(db: Database) -> None:
    number = add(db, "phone", "mail")
    notices.reserve(db, number, "phone", now=100, until=160)
    notices.mark_failed(db, number, "phone", "refused", None)
    assert due(db, 10**10) == [(number, "mail")]
    assert notices.retry(db) == 1
    assert due(db, 100) == [(number, "mail"), (number, "phone")]
    assert notices.history(db, 1)[0].sendings[1] == Sending(
        "phone", "waiting", 0, "refused", None, 0
    )


def test_a_late_failure_does_not_change_a_sending_that_was_sent(db: Database) -> None:
    number = add(db, "phone")
    notices.mark_sent(db, number, "phone", 150)
    notices.mark_failed(db, number, "phone", "refused", 400)
    assert notices.history(db, 1)[0].sendings == (Sending("phone", "sent", 0, None, 150, None),)


def test_pruning_removes_old_notices_with_their_sendings(db: Database) -> None:
    add(db, "phone", at=100)
    young = add(db, "phone", at=200)
    assert notices.prune(db, 200) == 1
    assert [notice.id for notice in notices.history(db, 10)] == [young]
    assert due(db, 1000) == [(young, "phone")]


def test_the_history_can_be_read_by_a_read_only_connection(db: Database, tmp_path: Path) -> None:
    add(db, "phone")
    with Database(str(tmp_path / "state"), read_only=True) as reader:
        assert len(notices.history(reader, 10)) == 1
