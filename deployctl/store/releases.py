"""Which revisions were built and how they fared: only a good one is gone back to by itself.

States: ``building``; ``good`` (it was live and healthy); ``left`` (a person rolled back from it);
``bad`` (it failed its restart or health check); and, never stored, ``gone`` (it was live once and
is no longer on disk). ``number`` is the deployment that built it;
``name`` is its directory, None in place.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from deployctl.store.database import Database

GONE = "gone"


@dataclass(frozen=True)
class ReleaseRecord:
    """One built revision, with what people recognise it by; ``size`` is in bytes on the disk.

    ``config`` is what it was built with, as :mod:`deployctl.releases.release_config` writes it.
    """

    number: int
    name: str | None
    revision: str
    state: str
    subject: str | None
    actor: str
    built_at: float | None
    size: int | None = None
    config: str | None = None


def begin(
    connection: sqlite3.Connection,
    repo: str,
    number: int,
    name: str | None,
    revision: str,
    config: str | None = None,
) -> None:
    """Say that a release is being built, before the first file of it exists."""
    connection.execute(
        "INSERT OR REPLACE INTO releases (repo, number, name, revision, state, config)"
        " VALUES (?, ?, ?, ?, 'building', ?)",
        (repo, number, name, revision, config),
    )


def set_state(connection: sqlite3.Connection, repo: str, number: int, state: str) -> None:
    connection.execute(
        "UPDATE releases SET state = ? WHERE repo = ? AND number = ?", (state, repo, number)
    )


def set_size(db: Database, repo: str, number: int, size: int) -> None:
    with db.writing() as connection:
        connection.execute(
            "UPDATE releases SET size = ? WHERE repo = ? AND number = ?", (size, repo, number)
        )


def newest_size(db: Database, repo: str) -> int | None:
    """What the last release that was measured takes; None where none was."""
    row = db.connection.execute(
        "SELECT size FROM releases WHERE repo = ? AND size IS NOT NULL"
        " ORDER BY number DESC LIMIT 1",
        (repo,),
    ).fetchone()
    return None if row is None else int(row["size"])


def forget(db: Database, repo: str, number: int) -> None:
    """The release is no longer on disk."""
    with db.writing() as connection:
        connection.execute("DELETE FROM releases WHERE repo = ? AND number = ?", (repo, number))


def of_repo(db: Database, repo: str) -> list[ReleaseRecord]:
    """All that the record knows of, newest first."""
    rows = db.connection.execute(
        "SELECT r.number, r.name, r.revision, r.state, r.size, r.config,"
        " d.subject, d.actor, d.finished_at"
        " FROM releases r LEFT JOIN deployments d ON d.number = r.number"
        " WHERE r.repo = ? ORDER BY r.number DESC",
        (repo,),
    )
    return [
        ReleaseRecord(
            number=row["number"],
            name=row["name"],
            revision=row["revision"],
            state=row["state"],
            subject=row["subject"],
            actor=row["actor"] or "",
            built_at=row["finished_at"],
            size=row["size"],
            config=row["config"],
        )
        for row in rows
    ]
