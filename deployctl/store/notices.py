"""The outbox: notices, and the state of sending each of them to its channels.

A notice is stored in the same transaction as the outcome that it reports, and sent afterwards. A
process claims a sending before it tries it, by moving its ``due_at`` into the future: so no other
process tries it at the same time, and if the process dies, another one tries it later. So a notice
arrives at least once. No sending is put off for more than a day: one that is due later was stored
while the clock was wrong, and is treated as due.

All times are in seconds since the epoch.
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
    """Store a notice and a sending to each channel, due at once; return the notice's id.

    This happens in the caller's transaction. ``channels`` are names; ``deployment`` and ``repo``
    are None for a notice that is about none.
    """
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


def is_due(db: Database, now: float) -> bool:
    """Tell whether any sending is due."""
    row = db.connection.execute(f"SELECT 1 FROM sendings WHERE {_IS_DUE} LIMIT 1", {"now": now})  # noqa: S608 - ours
    return row.fetchone() is not None


def due(db: Database, now: float) -> list[tuple[Notice, Sending]]:
    """Return the sendings that are due, each with its notice, the oldest notice first."""
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


def reserve(db: Database, notice: int, channel: str, *, now: float, until: float) -> bool:
    """Claim a due sending until the time ``until``, and count an attempt.

    False if it is not due any more, as another process has claimed it.
    """
    with db.writing() as connection:
        cursor = connection.execute(
            "UPDATE sendings SET attempts = attempts + 1, due_at = :until"  # noqa: S608 - ours
            f" WHERE notice = :notice AND channel = :channel AND {_IS_DUE}",
            {"until": until, "notice": notice, "channel": channel, "now": now},
        )
        return cursor.rowcount == 1


def mark_sent(db: Database, notice: int, channel: str, now: float) -> None:
    """Store that a notice was sent to a channel."""
    with db.writing() as connection:
        connection.execute(
            "UPDATE sendings SET state = ?, sent_at = ?, due_at = NULL"
            " WHERE notice = ? AND channel = ?",
            (SENT, now, notice, channel),
        )


def mark_failed(
    db: Database, notice: int, channel: str, error: str, retry_at: float | None
) -> None:
    """Store that an attempt failed; the next one is due at ``retry_at``, None gives up.

    Nothing changes if another process has sent the notice in the meantime.
    """
    with db.writing() as connection:
        connection.execute(
            "UPDATE sendings SET state = ?, last_error = ?, due_at = ?"
            " WHERE notice = ? AND channel = ? AND state = 'waiting'",
            (FAILED if retry_at is None else WAITING, error, retry_at, notice, channel),
        )


def history(db: Database, limit: int) -> list[Notice]:
    """Return at most ``limit`` notices with their sendings, newest first."""
    return _select(db, "ORDER BY id DESC LIMIT ?", (limit,))


def retry(db: Database) -> int:
    """Make all sendings that were given up due now; return their number.

    Their attempts are counted from 0 again.
    """
    with db.writing() as connection:
        return connection.execute(
            "UPDATE sendings SET state = ?, attempts = 0, due_at = 0 WHERE state = ?",
            (WAITING, FAILED),
        ).rowcount


def prune(db: Database, before: float) -> int:
    """Remove the notices created before that time, sent or not; return their number."""
    oldest = db.connection.execute("SELECT created_at FROM notices ORDER BY id LIMIT 1").fetchone()
    if oldest is None or oldest["created_at"] >= before:
        return 0
    with db.writing() as connection:
        connection.execute(
            "DELETE FROM sendings WHERE notice IN (SELECT id FROM notices WHERE created_at < ?)",
            (before,),
        )
        return connection.execute("DELETE FROM notices WHERE created_at < ?", (before,)).rowcount


def _select(db: Database, clauses: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Notice]:
    rows = db.connection.execute(f"SELECT * FROM notices {clauses}", values).fetchall()  # noqa: S608 - ours
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
