"""The outbox: a notice is written with the outcome it tells of, and sent afterwards.

A sending is claimed before it is tried, by moving its ``due_at`` into the future: two senders
never try it at once, and one that dies leaves it to the next. So a notice arrives at least once.
Nothing waits for a day: what is due later than that was put off by a clock that was wrong.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deployctl.store.database import Database
from deployctl.values.notice import FAILED, SENT, WAITING, Notice, Sending, Wording


def add(
    connection: sqlite3.Connection,
    wording: Wording,
    *,
    deployment: int | None,
    repo: str | None,
    channels: Iterable[str],
    now: float,
) -> int:
    """Keep a notice, due at once to each channel, inside the caller's transaction -> its id."""
    cursor = connection.execute(
        "INSERT INTO notices (deployment, repo, event, title, body, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (deployment, repo, wording.event, wording.title, wording.body, now),
    )
    notice = int(cursor.lastrowid or 0)
    connection.executemany(
        "INSERT INTO sendings (notice, channel, state, due_at) VALUES (?, ?, ?, ?)",
        [(notice, channel, WAITING, now) for channel in channels],
    )
    return notice


_DAY = 86400.0
_IS_DUE = f"(state = 'waiting' AND (due_at <= :now OR due_at > :now + {_DAY}))"


def due(db: Database, now: float) -> list[tuple[Notice, Sending]]:
    """The sendings whose time has come, those of the oldest notice first."""
    notices = _select(
        db,
        f"WHERE id IN (SELECT notice FROM sendings WHERE {_IS_DUE}) ORDER BY id",  # noqa: S608 - ours
        {"now": now},
    )
    return [
        (notice, sending)
        for notice in notices
        for sending in notice.sendings
        if sending.due_at is not None and not now < sending.due_at <= now + _DAY
    ]


def claim(db: Database, notice: int, channel: str, *, now: float, until: float) -> bool:
    """Take a due sending until then, and count the attempt: False where another was faster."""
    with db.writing() as connection:
        cursor = connection.execute(
            "UPDATE sendings SET attempts = attempts + 1, due_at = :until"  # noqa: S608 - ours
            f" WHERE notice = :notice AND channel = :channel AND {_IS_DUE}",
            {"until": until, "notice": notice, "channel": channel, "now": now},
        )
        return cursor.rowcount == 1


def mark_sent(db: Database, notice: int, channel: str, now: float) -> None:
    with db.writing() as connection:
        connection.execute(
            "UPDATE sendings SET state = ?, sent_at = ?, due_at = NULL"
            " WHERE notice = ? AND channel = ?",
            (SENT, now, notice, channel),
        )


def mark_failed(
    db: Database, notice: int, channel: str, error: str, retry_at: float | None
) -> None:
    """Try again at ``retry_at``; None: give up. What was sent in the meantime stays sent."""
    with db.writing() as connection:
        connection.execute(
            "UPDATE sendings SET state = ?, last_error = ?, due_at = ?"
            " WHERE notice = ? AND channel = ? AND state = 'waiting'",
            (FAILED if retry_at is None else WAITING, error, retry_at, notice, channel),
        )


def history(db: Database, limit: int) -> list[Notice]:
    """The newest notices first."""
    return _select(db, "ORDER BY id DESC LIMIT ?", (limit,))


def retry(db: Database) -> int:
    """What was given up is due again, with all its attempts -> how many sendings."""
    with db.writing() as connection:
        return connection.execute(
            "UPDATE sendings SET state = ?, attempts = 0, due_at = 0 WHERE state = ?",
            (WAITING, FAILED),
        ).rowcount


def prune(db: Database, before: float) -> int:
    """Forget the notices made before then, sent or not -> how many."""
    oldest = db.connection.execute("SELECT created_at FROM notices ORDER BY id LIMIT 1").fetchone()
    if oldest is None or oldest["created_at"] >= before:
        return 0
    with db.writing() as connection:
        connection.execute(
            "DELETE FROM sendings WHERE notice IN (SELECT id FROM notices WHERE created_at < ?)",
            (before,),
        )
        return connection.execute("DELETE FROM notices WHERE created_at < ?", (before,)).rowcount


def _select(db: Database, which: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Notice]:
    rows = db.connection.execute(f"SELECT * FROM notices {which}", values).fetchall()  # noqa: S608 - ours
    sendings = _sendings_of(db, [row["id"] for row in rows])
    return [
        Notice(
            id=row["id"],
            deployment=row["deployment"],
            repo=row["repo"],
            event=row["event"],
            title=row["title"],
            body=row["body"],
            created_at=row["created_at"],
            sendings=tuple(sendings.get(row["id"], ())),
        )
        for row in rows
    ]


def _sendings_of(db: Database, notices: Sequence[int]) -> dict[int, list[Sending]]:
    sendings: dict[int, list[Sending]] = {}
    for row in db.connection.execute(
        "SELECT * FROM sendings WHERE notice IN (SELECT value FROM json_each(?))"
        " ORDER BY notice, channel",
        (json.dumps(notices),),
    ):
        sending = Sending(
            channel=row["channel"],
            state=row["state"],
            attempts=row["attempts"],
            last_error=row["last_error"],
            sent_at=row["sent_at"],
            due_at=row["due_at"],
        )
        sendings.setdefault(row["notice"], []).append(sending)
    return sendings
