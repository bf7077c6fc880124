"""Releases: the revisions that were built, and the state of each.

The states are ``building``; ``good`` (it was live and healthy); ``left`` (a rollback went back
from it, or to it and it failed); ``bad`` (it failed, for example its restart or health check); and,
never stored, ``gone`` (it was live once and is no longer on disk). Unless a release is named, a
rollback goes back only to a ``good`` one.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from deployctl.store.database import Database

GONE = "gone"


@dataclass(frozen=True)
class ReleaseRecord:
    """A release as the record keeps it, with the subject and actor of its deployment.

    ``number`` is the deployment that built it; ``name`` is its directory's name, None in place.
    ``built_at``, when that deployment ended, is in seconds since the epoch; ``size`` on disk is in
    bytes, None until it is measured. ``config`` is the configuration that it was built with, as
    :mod:`deployctl.releases.release_config` writes it.
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
    """Store a release in the state ``building``, in the caller's transaction.

    To be called before its first file exists, so that files left by a crash are known.
    """
    connection.execute(
        "INSERT OR REPLACE INTO releases (repo, number, name, revision, state, config)"
        " VALUES (?, ?, ?, ?, 'building', ?)",
        (repo, number, name, revision, config),
    )


def set_state(connection: sqlite3.Connection, repo: str, number: int, state: str) -> None:
    """Change the state of a release, in the caller's transaction."""
    connection.execute(
        "UPDATE releases SET state = ? WHERE repo = ? AND number = ?", (state, repo, number)
    )


def trust_again(connection: sqlite3.Connection, repo: str, revision: str) -> None:
    """Change the state of a revision's releases from ``left`` to ``good``, in a transaction."""
    connection.execute(
        "UPDATE releases SET state = 'good' WHERE repo = ? AND revision = ? AND state = 'left'",
        (repo, revision),
    )


def set_size(db: Database, repo: str, number: int, size: int) -> None:
    """Store the size of a release on disk, in bytes."""
    with db.writing() as connection:
        connection.execute(
            "UPDATE releases SET size = ? WHERE repo = ? AND number = ?", (size, repo, number)
        )


def newest_size(db: Database, repo: str) -> int | None:
    """Return the size in bytes of the newest release that was measured; None if none was."""
    row = db.connection.execute(
        "SELECT size FROM releases WHERE repo = ? AND size IS NOT NULL"
        " ORDER BY number DESC LIMIT 1",
        (repo,),
    ).fetchone()
    return None if row is None else int(row["size"])


def forget(db: Database, repo: str, number: int) -> None:
    """Remove a release that is no longer on disk from the record."""
    with db.writing() as connection:
        connection.execute("DELETE FROM releases WHERE repo = ? AND number = ?", (repo, number))


def of_repo(db: Database, repo: str) -> list[ReleaseRecord]:
    """Return all releases of a repo that the record has, newest first."""
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
